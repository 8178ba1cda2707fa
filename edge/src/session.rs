//! Owns the buyer's session: a signed cookie by which limits per buyer count.
//!
//! A request without one gets a session that follows from its event and idempotency key, so that a
//! retry whose first answer was lost is the same buyer's. Must never trust a cookie it did not
//! sign.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use onsale_proto::keyed::Secret;
use subtle::ConstantTimeEq as _;

use crate::{reply::Reply, request::Request};

/// The cookie's name.
pub(crate) const COOKIE: &str = "onsale_session";
const PART_BYTES: usize = 16;
const PART_CHARS: usize = 22;

/// Who buys.
pub(crate) struct Session {
    id: String,
    /// Made for this very request: no valid cookie came with it.
    pub is_new: bool,
}

impl Session {
    /// The session of the request's cookie, or the one that follows from its key.
    pub(crate) fn of(request: &Request, key: u128, secret: &Secret) -> Session {
        if let Some(id) = request.cookie(COOKIE).and_then(|cookie| check(cookie, secret)) {
            return Session { id: id.to_owned(), is_new: false };
        }
        let made = secret.sign("session_of_key", &key.to_be_bytes());
        Session { id: URL_SAFE_NO_PAD.encode(&made[..PART_BYTES]), is_new: true }
    }

    /// How it stands in the log.
    pub(crate) fn buyer(&self, secret: &Secret) -> u64 {
        secret.buyer_hash("session", &self.id)
    }

    /// Gives the cookie to who had none.
    pub(crate) fn set_cookie(&self, reply: &mut Reply, secret: &Secret, secure: bool) {
        if self.is_new {
            let value = [self.id.as_str(), ".", &signature(&self.id, secret)].concat();
            set_cookie(reply, COOKIE, &value, "/", 30 * 24 * 3600, secure);
        }
    }
}

fn signature(id: &str, secret: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(&secret.sign("session", id.as_bytes())[..PART_BYTES])
}

fn check<'a>(cookie: &'a str, secret: &Secret) -> Option<&'a str> {
    let (id, presented) = cookie.split_once('.')?;
    if id.len() != PART_CHARS || presented.len() != PART_CHARS {
        return None;
    }
    let right: bool = signature(id, secret).as_bytes().ct_eq(presented.as_bytes()).into();
    right.then_some(id)
}

/// Sets a cookie that no script reads.
pub(crate) fn set_cookie(
    reply: &mut Reply,
    name: &str,
    value: &str,
    path: &str,
    max_age_seconds: u32,
    secure: bool,
) {
    let secure = if secure { "; Secure" } else { "" };
    // By hand: every new buyer's hold sets one.
    let text = [
        name,
        "=",
        value,
        "; Path=",
        path,
        "; Max-Age=",
        itoa::Buffer::new().format(max_age_seconds),
        "; HttpOnly; SameSite=Lax",
        secure,
    ]
    .concat();
    crate::reply::set(reply, http::header::SET_COOKIE, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cookie_of_our_own_names_a_session() {
        let secret = Secret::new(&[7; 32]).expect("long enough");
        let id = URL_SAFE_NO_PAD.encode([1_u8; PART_BYTES]);
        let good = format!("{id}.{}", signature(&id, &secret));
        assert_eq!(check(&good, &secret), Some(id.as_str()));
        let other = Secret::new(&[8; 32]).expect("long enough");
        assert_eq!(check(&good, &other), None);
        for bad in ["", ".", &id, &good[..good.len() - 1], &format!("{good}x")] {
            assert_eq!(check(bad, &secret), None, "{bad}");
        }
    }
}
