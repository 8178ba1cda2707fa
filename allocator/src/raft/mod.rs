//! What openraft needs of us.
