//! Owns the signing of tickets and their picture: an Ed25519 key in a file, signatures over
//! [`ticket_code::signing_input`], a QR code as SVG.
//!
//! Must never let the private key out of [`Signer`], nor put anything of a code into the picture
//! but its dots.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
};

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use fast_qr::{
    QRBuilder,
    convert::{Builder as _, Shape, svg::SvgBuilder},
};
use onsale_mesh::Failure;
use onsale_proto::{allocator::Place, id, ticket_code};
use sha2::{Digest as _, Sha256};

use crate::{Error, limits::TICKET_CODE_CHARS_MAX};

const SEED_BYTES: usize = 32;

/// Signs tickets with one key.
pub struct Signer {
    key: SigningKey,
    key_id: u32,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Signer {
    /// From the 32 bytes of a key file.
    #[must_use]
    pub fn new(seed: &[u8; SEED_BYTES]) -> Signer {
        let key = SigningKey::from_bytes(seed);
        let hash: [u8; 32] = Sha256::digest(key.verifying_key().as_bytes()).into();
        Signer { key_id: u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]), key }
    }

    /// Reads the key file; makes a new key, readable by its owner only, where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made, or is no key.
    pub fn open(path: &Path) -> Result<Signer, Error> {
        if !path.exists() {
            create(path)?;
        }
        let bytes = std::fs::read(path).map_err(|error| Error::file(path, error))?;
        let seed = bytes
            .as_slice()
            .try_into()
            .map_err(|_| Error::SigningKey { path: path.to_path_buf(), bytes: bytes.len() })?;
        Ok(Signer::new(seed))
    }

    /// The key's number: the first four bytes of the public key's SHA-256.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// With which anyone checks.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// One signature for each place, of the ticket of that number: a ticket that moved to another
    /// seat has another number than its place.
    #[must_use]
    pub fn sign(
        &self,
        order: u128,
        event_id: &str,
        places: &[Place],
        tickets: &[u32],
    ) -> Vec<Bytes> {
        (tickets.iter().zip(places))
            .map(|(&number, place)| {
                let number = u16::try_from(number).unwrap_or(u16::MAX);
                let ticket = id::format(id::TICKET, id::ticket(order, number));
                let seat = (!place.seat_id.is_empty()).then_some(place.seat_id.as_str());
                let input = ticket_code::signing_input(self.key_id, &ticket, event_id, seat);
                Bytes::copy_from_slice(&self.key.sign(input.as_bytes()).to_bytes())
            })
            .collect()
    }
}

/// Whether a ticket's code was signed by the owner of that public key.
#[must_use]
pub fn verify(code: &str, public_key: &[u8; 32]) -> bool {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let check = || {
        let (input, signature) = code.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let signature = Signature::from_slice(&signature).ok()?;
        let key = VerifyingKey::from_bytes(public_key).ok()?;
        key.verify_strict(input.as_bytes(), &signature).ok()
    };
    check().is_some()
}

/// A code as a self-contained SVG document without scripts or text.
///
/// # Errors
/// `invalid_request` when it is no code: empty, too long, or with other characters than a code has.
pub fn render(code: &str) -> Result<String, Failure> {
    let sober = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if code.is_empty() || code.len() > TICKET_CODE_CHARS_MAX || !code.bytes().all(sober) {
        return Err(Failure::invalid("code", "this is not a ticket's code"));
    }
    let picture = QRBuilder::new(code)
        .build()
        .map_err(|_| Failure::invalid("code", "too long for a QR code"))?;
    let svg = SvgBuilder::default().shape(Shape::Square).to_str(&picture);
    Ok(svg.replacen("<svg ", "<svg role=\"img\" aria-label=\"Ticket QR code\" ", 1))
}

/// Makes a key file that is whole or not there, also when several start at once.
fn create(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::file(path, error);
    let mut seed = [0; SEED_BYTES];
    getrandom::fill(&mut seed).map_err(|error| Error::Randomness(error.to_string()))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh).map_err(failed)?;
    file.write_all(&seed).and_then(|()| file.sync_all()).map_err(failed)?;
    // A link is made only where nothing is yet: the first of several makers wins.
    let linked = match std::fs::hard_link(&fresh, path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    std::fs::remove_file(&fresh).map_err(failed)?;
    linked.map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<Place> {
        let seat = |seat_id: &str| Place { seat_id: seat_id.to_owned(), ..Place::default() };
        vec![seat("101-A-12"), seat("")]
    }

    #[test]
    fn a_code_verifies_with_its_key_and_with_no_change() {
        let signer = Signer::new(&[7; 32]);
        let order = id::new_order(3).expect("randomness");
        let signatures = signer.sign(order, "evt_arena", &places(), &[1, 7]);
        for (number, (place, signature)) in [1, 7].into_iter().zip(places().iter().zip(&signatures))
        {
            let ticket = id::format(id::TICKET, id::ticket(order, number));
            let seat = (!place.seat_id.is_empty()).then_some(place.seat_id.as_str());
            let input = ticket_code::signing_input(signer.key_id(), &ticket, "evt_arena", seat);
            let code = ticket_code::assemble(&input, signature);
            assert!(verify(&code, &signer.public_key()));
            assert!(!verify(&code, &Signer::new(&[8; 32]).public_key()));
            let other = ticket_code::signing_input(signer.key_id(), &ticket, "evt_club", seat);
            assert!(!verify(&ticket_code::assemble(&other, signature), &signer.public_key()));
            assert!(!verify(&input, &signer.public_key()));
            let svg = render(&code).expect("a code fits");
            assert!(svg.starts_with("<svg role=\"img\"") && svg.ends_with("</svg>"));
            assert!(!svg.contains("script") && !svg.contains(&ticket));
        }
    }

    #[test]
    fn what_is_not_a_code_is_not_drawn() {
        let long = "a".repeat(TICKET_CODE_CHARS_MAX + 1);
        for text in ["", "<script>", "a b", "ä", &long] {
            assert!(render(text).is_err(), "{text}");
        }
        assert!(render(&"a".repeat(TICKET_CODE_CHARS_MAX)).is_ok());
    }

    #[test]
    fn the_key_file_is_made_once_for_its_owner_and_a_broken_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys").join("tickets.key");
        let first = Signer::open(&path).expect("made");
        let second = Signer::open(&path).expect("read");
        assert_eq!(first.public_key(), second.public_key());
        assert_eq!(first.key_id(), second.key_id());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).expect("there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let entries = std::fs::read_dir(folder.path().join("keys")).expect("listed");
        assert_eq!(entries.count(), 1, "nothing is left over");
        std::fs::write(&path, b"short").expect("written");
        assert!(matches!(Signer::open(&path), Err(Error::SigningKey { bytes: 5, .. })));
    }
}
