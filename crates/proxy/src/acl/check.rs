//! Whether a user may make a request.

use tombolo_resp::Request;
use tombolo_resp::command::access::{self, KeyAccess};
use tombolo_resp::command::{self, Command};

use super::glob;
use super::users::User;

/// What a user is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// To run the command.
    Command,
    /// To use one of the keys as the command does.
    Key,
    /// To use one of the channels.
    Channel,
    /// To run scripts, since the proxy does not see what they do.
    Script,
}

impl Denied {
    /// What the client reads, in Redis 7.0's words.
    pub fn reply(self, request: &Request<'_>) -> Vec<u8> {
        let text = match self {
            Denied::Command => {
                let name = match command::lookup(request.name(), request.arg(1)) {
                    Some(command) => command.name.to_string(),
                    None => {
                        String::from_utf8_lossy(&request.name()[..request.name().len().min(64)]).into_owned()
                    }
                };
                format!("NOPERM this user has no permissions to run the '{name}' command")
            }
            Denied::Key => {
                "NOPERM this user has no permissions to access one of the keys used as arguments".to_string()
            }
            Denied::Channel => {
                "NOPERM this user has no permissions to access one of the channels used as arguments"
                    .to_string()
            }
            Denied::Script => {
                "NOPERM tombolo-proxy: only a user who may do everything may run scripts".to_string()
            }
        };
        let mut reply = Vec::new();
        tombolo_resp::encode::error(&mut reply, &text);
        reply
    }
}

/// Commands that Redis lets everybody run, to become somebody or to leave.
const FOR_EVERYBODY: &[&str] = &["auth", "hello", "quit", "reset"];
/// Commands that run commands which are not in the request.
const SCRIPTS: &[&str] = &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"];

impl User {
    /// Whether the user may make a request, as far as it can be told.
    pub fn check(&self, request: &Request<'_>) -> Result<(), Denied> {
        if self.may_do_everything() {
            return Ok(());
        }
        // Nobody knows what the others do, and to which keys.
        let command = command::lookup(request.name(), request.arg(1)).ok_or(Denied::Command)?;
        if FOR_EVERYBODY.contains(&command.name) {
            return Ok(());
        }
        let access = access::access(command.name).ok_or(Denied::Command)?;
        let word = self.commands.get(access.index / 64).copied().unwrap_or_default();
        if word >> (access.index % 64) & 1 == 0 {
            return Err(Denied::Command);
        }
        if SCRIPTS.contains(&command.name) {
            return Err(Denied::Script);
        }
        if !self.all_keys {
            self.check_keys(command, access, request)?;
        }
        if !self.all_channels {
            self.check_channels(command, request)?;
        }
        Ok(())
    }

    fn check_keys(
        &self,
        command: &Command,
        access: &access::Access,
        request: &Request<'_>,
    ) -> Result<(), Denied> {
        let mut allowed = true;
        let mut first = true;
        let found = command.keys(request, |_, key| {
            let wanted = access.of_key(std::mem::take(&mut first));
            allowed &= wanted.is_none_or(|wanted| self.may_use(key, narrowed(command, request, wanted)));
        });
        // What can not be told apart here may be told apart by a newer server.
        if found.is_err() || !allowed {
            return Err(Denied::Key);
        }
        let patterned = matches!(command.name, "sort" | "sort_ro")
            && words(request, 2).any(|(at, word)| match () {
                // A pattern without a star names no key: it says that nothing is to be sorted.
                () if word.eq_ignore_ascii_case(b"by") => {
                    request.arg(at + 1).is_some_and(|pattern| pattern.contains(&b'*'))
                }
                () => word.eq_ignore_ascii_case(b"get"),
            });
        let reads_all = self.keys.iter().any(|pattern| pattern.read && pattern.pattern == b"*");
        if patterned && !reads_all { Err(Denied::Key) } else { Ok(()) }
    }

    fn may_use(&self, key: &[u8], wanted: KeyAccess) -> bool {
        self.keys.iter().any(|pattern| {
            (pattern.read || !wanted.read)
                && (pattern.write || !wanted.write)
                && glob::matches(&pattern.pattern, key)
        })
    }

    fn check_channels(&self, command: &Command, request: &Request<'_>) -> Result<(), Denied> {
        let (count, literal) = match command.name {
            "publish" | "spublish" => (1, false),
            "subscribe" | "ssubscribe" => (usize::MAX, false),
            // A pattern of channels has to be allowed as it is.
            "psubscribe" => (usize::MAX, true),
            _ => return Ok(()),
        };
        let allowed = |channel: &[u8]| {
            self.channels.iter().any(|pattern| match literal {
                true => pattern == channel,
                false => glob::matches(pattern, channel),
            })
        };
        match request.args().skip(1).take(count).all(allowed) {
            true => Ok(()),
            false => Err(Denied::Channel),
        }
    }
}

/// SET only reads when it is told to, and BITFIELD only writes when it is.
fn narrowed(command: &Command, request: &Request<'_>, wanted: KeyAccess) -> KeyAccess {
    match command.name {
        "set" => {
            let read = words(request, 3).any(|(_, word)| word.eq_ignore_ascii_case(b"get"));
            KeyAccess { read, ..wanted }
        }
        "bitfield" => KeyAccess { write: !only_gets(request), ..wanted },
        _ => wanted,
    }
}

/// Whether all that a BITFIELD does is GET.
fn only_gets(request: &Request<'_>) -> bool {
    let mut at = 2;
    while let Some(word) = request.arg(at) {
        at += match () {
            () if word.eq_ignore_ascii_case(b"get") => 3,
            () if word.eq_ignore_ascii_case(b"overflow") => 2,
            () => return false,
        };
    }
    at == request.len()
}

/// The arguments of a request from `from` on, with their places.
fn words<'a>(request: &Request<'a>, from: usize) -> impl Iterator<Item = (usize, &'a [u8])> {
    (from..request.len()).filter_map(|at| Some((at, request.arg(at)?)))
}
