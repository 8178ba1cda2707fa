//! Owns who may do what: API keys from the control group's feed, by their SHA-256, and roles.
//!
//! Must never see a key longer than the request that brings it, and never tell an unknown key from
//! a wrong one.

use dashmap::DashMap;
use http::{HeaderMap, header};
use onsale_proto::{Code, allocator::ApiKey, keyed};

use crate::{limits, problem::Problem};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Events and their reports.
    Organizer,
    /// Orders and refunds.
    Support,
    /// The ledger.
    Finance,
    /// The cluster.
    Operator,
}

impl Role {
    fn from_name(name: &str) -> Option<Role> {
        match name {
            "organizer" => Some(Role::Organizer),
            "support" => Some(Role::Support),
            "finance" => Some(Role::Finance),
            "operator" => Some(Role::Operator),
            _ => None,
        }
    }

    /// Its public name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Organizer => "organizer",
            Role::Support => "support",
            Role::Finance => "finance",
            Role::Operator => "operator",
        }
    }
}

/// Whose key a request came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staff {
    /// What it may do.
    pub role: Role,
    /// Whose it is.
    pub owner: String,
    /// Names the key itself, for the scope of idempotency keys; not a secret.
    pub key_name: String,
}

/// The keys there are.
#[derive(Default)]
pub(crate) struct ApiKeys {
    by_hash: DashMap<[u8; 32], (Role, String)>,
}

impl ApiKeys {
    /// Takes over a key from the feed. A role that this version does not know may do nothing.
    pub(crate) fn put(&self, key: &ApiKey) {
        let Ok(hash) = <[u8; 32]>::try_from(&key.key_hash[..]) else {
            return;
        };
        match Role::from_name(&key.role) {
            Some(role) => self.by_hash.insert(hash, (role, key.owner.clone())),
            None => self.by_hash.remove(&hash).map(|(_, known)| known),
        };
    }

    /// Takes over all keys there are, and forgets the others.
    pub(crate) fn replace(&self, keys: &[ApiKey]) {
        self.by_hash.retain(|hash, _| keys.iter().any(|key| key.key_hash[..] == hash[..]));
        keys.iter().for_each(|key| self.put(key));
    }

    /// Whose key the request brings; none when it brings none.
    ///
    /// # Errors
    /// `unauthenticated` for a key that nobody issued.
    pub(crate) fn staff(&self, headers: &HeaderMap) -> Result<Option<Staff>, Problem> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(None);
        };
        let unknown = || Problem::new(Code::Unauthenticated, "the key is not known");
        let key = value
            .to_str()
            .ok()
            .and_then(|text| {
                let (scheme, key) = text.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
            })
            .filter(|key| (1..=limits::API_KEY_CHARS_MAX).contains(&key.len()))
            .ok_or_else(unknown)?;
        let hash = keyed::api_key_hash(key);
        let entry = self.by_hash.get(&hash).ok_or_else(unknown)?;
        let (role, owner) = entry.value();
        Ok(Some(Staff {
            role: *role,
            owner: owner.clone(),
            key_name: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        }))
    }

    /// The staff member of this role.
    ///
    /// # Errors
    /// `unauthenticated` without a good key, `forbidden` with one of another role.
    pub(crate) fn require(&self, headers: &HeaderMap, role: Role) -> Result<Staff, Problem> {
        let staff = self.staff(headers)?.ok_or_else(|| {
            Problem::new(Code::Unauthenticated, "send the key as Authorization: Bearer KEY")
        })?;
        if staff.role == role {
            return Ok(staff);
        }
        Err(Problem::new(Code::Forbidden, format!("this needs a key of the role {}", role.name())))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;

    fn key(text: &str, role: &str) -> ApiKey {
        ApiKey {
            key_hash: Bytes::copy_from_slice(&keyed::api_key_hash(text)),
            role: role.into(),
            owner: "org_1".into(),
        }
    }

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a header"));
        headers
    }

    #[test]
    fn a_key_opens_its_role_only() {
        let keys = ApiKeys::default();
        keys.replace(&[key("good", "organizer"), key("odd", "emperor")]);
        let code = |headers: &HeaderMap, role| {
            keys.require(headers, role).map_err(|problem| problem.code())
        };
        assert!(code(&with("Bearer good"), Role::Organizer).is_ok());
        assert_eq!(code(&with("Bearer good"), Role::Support), Err(Code::Forbidden));
        for bad in ["Bearer bad", "Bearer odd", "Basic good", "Bearer ", "good"] {
            let result = code(&with(bad), Role::Organizer);
            assert_eq!(result, Err(Code::Unauthenticated), "{bad}");
        }
        let none = code(&HeaderMap::new(), Role::Organizer);
        assert_eq!(none, Err(Code::Unauthenticated));
        keys.replace(&[]);
        let gone = code(&with("Bearer good"), Role::Organizer);
        assert_eq!(gone, Err(Code::Unauthenticated));
    }
}
