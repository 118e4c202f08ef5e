//! Who may log in: public keys in metadata. Pure.
//!
//! Source: "Add SSH keys to VMs that use metadata-based SSH keys" and google-guest-agent, `google_guest_agent/accounts`.

use jiff::Timestamp;
use russh::keys::ssh_key::PublicKey;
use serde_json::Value;

/// The metadata that has keys, of an instance and of a project: a line each, `USER:KEYTYPE KEY COMMENT`.
pub const SSH_KEYS: &str = "ssh-keys";
/// The metadata by which an instance does not let its project's keys in.
const BLOCK_PROJECT: &str = "block-project-ssh-keys";
/// What a key that expires has for a comment, before some JSON.
const GOOGLE_SSH: &str = "google-ssh ";
/// How `expireOn` is written: `2030-01-02T03:04:05+0000`.
const EXPIRY: &str = "%Y-%m-%dT%H:%M:%S%z";
/// The longest name that Linux has for a user.
const LONGEST_NAME: usize = 32;

/// Where a key is put that is to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// The project's metadata, for all its instances.
    Project,
    /// The instance's own, which has blocked the project's.
    Instance,
}

/// Where keys for an instance belong, by its metadata.
pub fn key_place<'m>(instance: impl Fn(&str) -> Option<&'m str>) -> KeyPlace {
    // Google's spellings of true in metadata.
    let is_true = |text: &str| ["true", "1", "y", "yes"].contains(&text.trim().to_lowercase().as_str());
    if instance(BLOCK_PROJECT).is_some_and(is_true) { KeyPlace::Instance } else { KeyPlace::Project }
}

/// The values of [`SSH_KEYS`] that count for an instance.
pub fn key_texts<'m>(
    instance: impl Fn(&str) -> Option<&'m str>,
    project: impl Fn(&str) -> Option<&'m str>,
) -> Vec<String> {
    let shared = match key_place(&instance) {
        KeyPlace::Project => project(SSH_KEYS),
        KeyPlace::Instance => None,
    };
    instance(SSH_KEYS).into_iter().chain(shared).map(str::to_owned).collect()
}

/// The line of metadata that lets `user` in with a public key, which is written as in OpenSSH's files.
pub fn entry(user: &str, public: &str) -> String {
    format!("{user}:{public}")
}

/// A value of [`SSH_KEYS`] with one line more; `None` when it lets that user in with that key already.
pub fn with_entry(text: &str, entry: &str) -> Option<String> {
    let known = |line: &str| match (Line::read(line), Line::read(entry)) {
        (Some(one), Some(other)) => {
            one.user == other.user && one.key.key_data() == other.key.key_data() && one.expires.is_none()
        }
        _ => false,
    };
    if text.lines().any(known) {
        return None;
    }
    let kept = text.trim_end();
    Some(if kept.is_empty() { entry.to_owned() } else { format!("{kept}\n{entry}") })
}

/// Whether a user may have this name: what `useradd` accepts, and capitals and dots.
pub fn is_user_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let rest = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    name.len() <= LONGEST_NAME && name.starts_with(first) && name.chars().all(rest)
}

/// Whether metadata lets a user in with a key at this time.
pub(crate) fn is_let_in(texts: &[String], user: &str, key: &PublicKey, now: Timestamp) -> bool {
    let lines = texts.iter().flat_map(|text| text.lines()).filter_map(Line::read);
    let valid = |line: &Line<'_>| line.expires.is_none_or(|expires| now < expires);
    is_user_name(user)
        && lines
            .filter(|line| line.user == user && line.key.key_data() == key.key_data())
            .any(|line| valid(&line))
}

/// A line of metadata.
struct Line<'t> {
    user: &'t str,
    key: PublicKey,
    expires: Option<Timestamp>,
}

impl<'t> Line<'t> {
    /// `None` for a line that lets nobody in: Google's guest agent passes over what it does not understand.
    fn read(line: &'t str) -> Option<Self> {
        let (user, key) = line.trim().split_once(':')?;
        let key = PublicKey::from_openssh(key.trim()).ok()?;
        let expires = match key.comment().as_str().ok()?.strip_prefix(GOOGLE_SSH) {
            Some(json) => Some(expiry(json)?),
            None => None,
        };
        Some(Self { user, key, expires })
    }
}

/// When a key expires, by the JSON in its comment.
fn expiry(json: &str) -> Option<Timestamp> {
    let value: Value = serde_json::from_str(json).ok()?;
    let text = value.get("expireOn")?.as_str()?;
    jiff::fmt::strtime::parse(EXPIRY, text)
        .and_then(|parts| parts.to_timestamp())
        .ok()
        .or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn let_in(text: &str, user: &str, public: &str, time: &str) -> bool {
        is_let_in(&[text.to_owned()], user, &key(public), at(time))
    }

    const NOW: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn a_user_and_a_key_belong_together() {
        let text = format!("alice:{ONE} alice@laptop\n\nbob:{TWO}\nnonsense\ncarol:ssh-rsa not-a-key\n");
        assert!(let_in(&text, "alice", ONE, NOW) && let_in(&text, "bob", TWO, NOW));
        assert!(!let_in(&text, "alice", TWO, NOW) && !let_in(&text, "bob", ONE, NOW));
        assert!(!let_in(&text, "carol", ONE, NOW) && !let_in("", "alice", ONE, NOW));
    }

    #[test]
    fn a_key_expires_and_one_whose_expiry_is_not_understood_has() {
        let with = |comment: &str| format!("alice:{ONE} {comment}");
        let dated =
            with(r#"google-ssh {"userName":"alice@example.com","expireOn":"2026-06-01T12:00:00+0000"}"#);
        assert!(let_in(&dated, "alice", ONE, "2026-06-01T11:59:59Z"));
        assert!(!let_in(&dated, "alice", ONE, "2026-06-01T12:00:00Z"));
        let east = with(r#"google-ssh {"userName":"a","expireOn":"2026-06-01T12:00:00+0200"}"#);
        assert!(!let_in(&east, "alice", ONE, "2026-06-01T10:00:00Z"));
        assert!(let_in(&with(r#"google-ssh {"expireOn":"2026-06-01T12:00:00Z"}"#), "alice", ONE, NOW));
        for broken in [r#"google-ssh {"userName":"a"}"#, "google-ssh {", r#"google-ssh {"expireOn":"soon"}"#]
        {
            assert!(!let_in(&with(broken), "alice", ONE, NOW), "{broken}");
        }
    }

    #[test]
    fn an_instance_can_block_the_keys_of_its_project() {
        let project = BTreeMap::from([(SSH_KEYS, "p:…")]);
        let texts = |instance: &BTreeMap<&'static str, &'static str>| {
            key_texts(|name| instance.get(name).copied(), |name| project.get(name).copied())
        };
        let mut instance = BTreeMap::from([(SSH_KEYS, "i:…")]);
        assert_eq!(texts(&instance), ["i:…", "p:…"]);
        assert_eq!(texts(&BTreeMap::new()), ["p:…"]);
        for said in ["true", "TRUE", "yes", "1"] {
            instance.insert(BLOCK_PROJECT, said);
            assert_eq!(texts(&instance), ["i:…"]);
        }
        instance.insert(BLOCK_PROJECT, "false");
        assert_eq!(texts(&instance), ["i:…", "p:…"]);
    }

    #[test]
    fn a_key_is_added_once() {
        let first = with_entry("", &entry("alice", ONE)).unwrap();
        assert_eq!(first, format!("alice:{ONE}"));
        assert_eq!(with_entry(&first, &entry("alice", &format!("{ONE} elsewhere"))), None);
        let both = with_entry(&format!("{first}\n"), &entry("bob", ONE)).unwrap();
        assert_eq!(both, format!("alice:{ONE}\nbob:{ONE}"));
        // One that expires may be of no use soon.
        let dated = format!(r#"alice:{ONE} google-ssh {{"expireOn":"2026-06-01T12:00:00+0000"}}"#);
        assert!(with_entry(&dated, &entry("alice", ONE)).is_some());
    }

    #[test]
    fn names_that_files_would_misread_are_nobodys() {
        for good in ["alice", "_x", "A.b-c_9", "root"] {
            assert!(is_user_name(good), "{good}");
        }
        for bad in ["", "9a", "-x", "a:b", "a b", "a\nb", "ä", &"x".repeat(33)] {
            assert!(!is_user_name(bad), "{bad}");
        }
    }
}
