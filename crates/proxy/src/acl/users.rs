//! Users and their passwords.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::rules::{RuleError, apply};
use crate::config::Secret;

/// What a pattern of keys is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) pattern: Vec<u8>,
    pub(super) read: bool,
    pub(super) write: bool,
}

/// The SHA-256 of a password, which is what Redis keeps too.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hashed(pub(super) [u8; 32]);

impl Hashed {
    pub(super) fn of(password: &[u8]) -> Hashed {
        Hashed(Sha256::digest(password).into())
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashed")
    }
}

/// A user, as the rules have left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) nopass: bool,
    pub(super) passwords: Vec<Hashed>,
    /// A bit for each command of `access::all`.
    pub(super) commands: Vec<u64>,
    /// Every command, those that are not in the table included.
    pub(super) all_commands: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_keys: bool,
    pub(super) channels: Vec<Vec<u8>>,
    pub(super) all_channels: bool,
}

impl User {
    /// A user who may do nothing, as Redis makes them.
    pub(super) fn new(name: &str) -> User {
        User {
            name: name.to_string(),
            enabled: false,
            nopass: false,
            passwords: Vec::new(),
            commands: Vec::new(),
            all_commands: false,
            keys: Vec::new(),
            all_keys: false,
            channels: Vec::new(),
            all_channels: false,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is nothing that the user may not do.
    pub fn may_do_everything(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether there is nothing that only one of both may do.
    pub fn may_the_same_as(&self, other: &User) -> bool {
        let commands = (self.all_commands, &self.commands) == (other.all_commands, &other.commands);
        let keys = (self.all_keys, &self.keys) == (other.all_keys, &other.keys);
        commands && keys && (self.all_channels, &self.channels) == (other.all_channels, &other.channels)
    }

    /// Whether whoever was this other user, or could do everything, may stay subscribed. As in
    /// Redis, the patterns decide.
    pub fn keeps_channels_of(&self, other: Option<&User>) -> bool {
        let keeps = |pattern| self.channels.contains(pattern);
        self.all_channels
            || other.is_some_and(|other| !other.all_channels && other.channels.iter().all(keeps))
    }

    /// Whether a client is this user without having said so; of use for `default` alone.
    pub fn needs_no_password(&self) -> bool {
        self.enabled && self.nopass
    }

    fn accepts(&self, password: &[u8]) -> bool {
        let given = Hashed::of(password);
        // All of them, so that time does not tell which.
        let known = self.passwords.iter().fold(Choice::from(0), |known, one| known | one.0.ct_eq(&given.0));
        self.enabled & (self.nopass | bool::from(known))
    }
}

/// The users of a pool; `default` is always among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    users: HashMap<String, Arc<User>>,
    default: Arc<User>,
}

impl Users {
    /// The users of these lines, each `[user] name rule...`. As in Redis, `default` may do everything
    /// without a password unless a line says otherwise, or `password` is its password.
    pub fn parse<'a>(
        lines: impl IntoIterator<Item = &'a str>,
        password: Option<&Secret>,
    ) -> Result<Users, RuleError> {
        let mut default = User::new("default");
        for rule in ["on", "nopass", "allkeys", "allchannels", "allcommands"] {
            apply(&mut default, rule)?;
        }
        if let Some(password) = password {
            default.nopass = false;
            default.passwords.push(Hashed::of(password.reveal().as_bytes()));
        }
        let mut users = HashMap::from([("default".to_string(), default)]);
        for line in lines {
            let mut words = line.split_ascii_whitespace().peekable();
            words.next_if_eq(&"user");
            let Some(name) = words.next() else { return Err(RuleError::Nameless) };
            let user = users.entry(name.to_string()).or_insert_with(|| User::new(name));
            for rule in words {
                apply(user, rule)?;
            }
        }
        let users: HashMap<_, _> = users.into_iter().map(|(name, user)| (name, Arc::new(user))).collect();
        let default = users["default"].clone();
        Ok(Users { users, default })
    }

    /// Who a client is that has said nothing.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// The user with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// The user with this name, if it is enabled and the password is right.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        let user = self.users.get(std::str::from_utf8(name).ok()?)?;
        user.accepts(password).then_some(user)
    }
}
