//! One rule of a user, as `ACL SETUSER` takes them.

use thiserror::Error;
use tombolo_resp::command::access::{self, Access, CATEGORIES};

use super::users::{Hashed, KeyPattern, User};

/// Why a rule is refused. Passwords are not quoted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// A line without a word.
    #[error("a user without a name; expected 'name rule...'")]
    Nameless,
    /// No such rule.
    #[error(
        "{0} is no rule; expected one of Redis's, such as on, >password, ~keys:*, &channel, +get, -@dangerous"
    )]
    Unknown(String),
    /// No such command.
    #[error("'{0}' is no command or subcommand of Redis 7.0")]
    Command(String),
    /// No such category.
    #[error("'{0}' is no category of commands; expected one of ACL CAT's")]
    Category(String),
    /// A `#` or `!` without a hash.
    #[error("a password's hash is 64 digits, 0-9 and a-f")]
    Hash,
    /// A pattern that changes nothing.
    #[error("'{0}' after everything was allowed changes nothing; put resetkeys or resetchannels before it")]
    Pattern(String),
    /// A rule in parentheses.
    #[error("selectors, in parentheses, are not supported")]
    Selector,
}

/// Changes a user as one rule says.
pub(super) fn apply(user: &mut User, rule: &str) -> Result<(), RuleError> {
    match rule.to_ascii_lowercase().as_str() {
        "on" => user.enabled = true,
        "off" => user.enabled = false,
        "nopass" => {
            user.nopass = true;
            user.passwords.clear();
        }
        "resetpass" => {
            user.nopass = false;
            user.passwords.clear();
        }
        "allkeys" | "~*" => {
            user.all_keys = true;
            user.keys.clear();
        }
        "resetkeys" => {
            user.all_keys = false;
            user.keys.clear();
        }
        "allchannels" | "&*" => {
            user.all_channels = true;
            user.channels.clear();
        }
        "resetchannels" => {
            user.all_channels = false;
            user.channels.clear();
        }
        "allcommands" | "+@all" => {
            user.commands = vec![u64::MAX; access::all().len().div_ceil(64)];
            user.all_commands = true;
        }
        "nocommands" | "-@all" => {
            user.commands = Vec::new();
            user.all_commands = false;
        }
        "reset" => *user = User::new(&user.name),
        "clearselectors" => {}
        lower => return prefixed(user, rule, lower),
    }
    Ok(())
}

fn prefixed(user: &mut User, rule: &str, lower: &str) -> Result<(), RuleError> {
    let Some(first) = rule.chars().next() else { return Err(RuleError::Unknown("nothing".to_string())) };
    let unknown = || {
        // It may be a password that lacks its '>'.
        RuleError::Unknown(match first {
            '%' => format!("'{rule}'"),
            _ => format!("a word that starts with '{first}'"),
        })
    };
    let (tail, lower) = (&rule[first.len_utf8()..], &lower[first.len_utf8()..]);
    match first {
        '>' => {
            user.nopass = false;
            add(&mut user.passwords, Hashed::of(tail.as_bytes()));
        }
        '#' => {
            user.nopass = false;
            add(&mut user.passwords, hash(tail)?);
        }
        '<' => {
            let gone = Hashed::of(tail.as_bytes());
            user.passwords.retain(|known| *known != gone);
        }
        '!' => {
            let gone = hash(tail)?;
            user.passwords.retain(|known| *known != gone);
        }
        '~' | '%' if user.all_keys => return Err(RuleError::Pattern(rule.to_string())),
        '~' => keys(user, tail, true, true),
        '%' => match lower.split_once('~').map(|(flags, _)| flags) {
            Some("r") => keys(user, &tail[2..], true, false),
            Some("w") => keys(user, &tail[2..], false, true),
            Some("rw" | "wr") => match &tail[3..] {
                "*" => return apply(user, "allkeys"),
                pattern => keys(user, pattern, true, true),
            },
            _ => return Err(unknown()),
        },
        '&' if user.all_channels => return Err(RuleError::Pattern(rule.to_string())),
        '&' => add(&mut user.channels, tail.as_bytes().to_vec()),
        '+' | '-' => commands(user, lower, first == '+')?,
        '(' => return Err(RuleError::Selector),
        _ => return Err(unknown()),
    }
    Ok(())
}

/// As in Redis, a pattern that is there already may be used in more ways from here on: `%R~a %W~a` is `~a`.
fn keys(user: &mut User, pattern: &str, read: bool, write: bool) {
    match user.keys.iter_mut().find(|known| known.pattern == pattern.as_bytes()) {
        Some(known) => (known.read, known.write) = (known.read | read, known.write | write),
        None => user.keys.push(KeyPattern { pattern: pattern.as_bytes().to_vec(), read, write }),
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn hash(text: &str) -> Result<Hashed, RuleError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(RuleError::Hash),
    };
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return Err(RuleError::Hash);
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(Hashed(bytes))
}

/// `+name`, `+container|subcommand`, `+@category`; a container goes with its subcommands.
fn commands(user: &mut User, name: &str, allow: bool) -> Result<(), RuleError> {
    let chosen: Box<dyn Fn(&Access) -> bool> = match name.strip_prefix('@') {
        Some(category) => {
            let place = CATEGORIES.iter().position(|known| *known == category);
            let place = place.ok_or_else(|| RuleError::Category(category.to_string()))?;
            Box::new(move |access| access.is_in(place))
        }
        None => {
            access::access(name).ok_or_else(|| RuleError::Command(name.to_string()))?;
            Box::new(move |access| {
                access.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
            })
        }
    };
    user.commands.resize(access::all().len().div_ceil(64), 0);
    user.all_commands &= allow;
    for access in access::all().iter().filter(|access| chosen(access)) {
        let (word, bit) = (access.index / 64, 1 << (access.index % 64));
        user.commands[word] = if allow { user.commands[word] | bit } else { user.commands[word] & !bit };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(rules: &str) -> Result<User, RuleError> {
        let mut user = User::new("u");
        rules.split(' ').try_for_each(|rule| apply(&mut user, rule)).map(|()| user)
    }

    #[test]
    fn rules_that_come_to_the_same() {
        let sesame = "#d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
        for (one, other) in [
            ("+@all", "allcommands"),
            ("-@all +get", "+get"),
            ("~a ~b resetkeys ~c", "~c"),
            ("%RW~a", "~a"),
            ("%R~a %R~b %W~a", "~a %R~b"),
            ("~a %R~a", "~a"),
            ("%RW~*", "allkeys"),
            (">open", "nopass >open"),
            ("on >x nopass", "on nopass"),
            ("ON ALLKEYS", "on allkeys"),
            ("on ~a +@all &c >x reset", "off"),
            (">sesame", ">other <other >sesame >sesame"),
            (sesame, ">sesame"),
            ("+script|load +script", "+script"),
        ] {
            assert_eq!(user(one), user(other), "{one} / {other}");
        }
        assert_ne!(user("+@all -get +get"), user("+@all"), "commands that are not known stay forbidden");
    }

    #[test]
    fn rules_that_are_none() {
        for (rules, expected) in [
            ("onn", "a word that starts with 'o' is no rule"),
            ("+nonsense", "'nonsense' is no command"),
            ("+get|x", "'get|x' is no command"),
            ("-@nonsense", "'nonsense' is no category"),
            ("#abc", "64 digits"),
            ("allkeys ~a", "'~a' after everything was allowed"),
            ("allchannels &a", "'&a' after everything"),
            ("(~a)", "selectors"),
            ("%X~a", "'%X~a' is no rule"),
            ("é", "'é' is no rule"),
        ] {
            let message = user(rules).expect_err(rules).to_string();
            assert!(message.contains(expected), "{rules}: {message}");
        }
    }
}
