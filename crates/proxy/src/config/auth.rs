//! The keys of a pool about who its clients are, and who the proxy is to servers.
//!
//! ```text
//!  clients ──(redis_auth, users)── proxy ──(server_password, else redis_auth)── servers
//!  clients ──────────(client_auth: passthrough)──────────────────────────────── servers
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Pool;
use super::document::Data;
use super::error::{ConfigError, Problem};
use super::pool::{Read, Reader};
use super::secret::Secret;
use crate::acl::Users;

/// The keys that this module gives a meaning, but for twemproxy's `redis_auth`.
pub(super) const KEYS: &[&str] =
    &["client_auth", "server_password", "server_password_file", "server_user", "users"];

/// Who checks the passwords that clients give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// The proxy, where it has a password or users; other users are the servers' business.
    #[default]
    Check,
    /// The server, as if there were no proxy: each client that gives one gets a connection of its own.
    Passthrough,
}

impl ClientAuth {
    const ALL: [ClientAuth; 2] = [ClientAuth::Check, ClientAuth::Passthrough];

    fn name(self) -> &'static str {
        match self {
            ClientAuth::Check => "check",
            ClientAuth::Passthrough => "passthrough",
        }
    }
}

/// What servers are given with AUTH, where that is not `redis_auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user; Redis's `default` when absent.
    pub user: Option<String>,
    /// The password, unless it is in a file that has not been read.
    pub password: Option<Secret>,
    /// The file that has the password.
    pub file: Option<PathBuf>,
}

impl Reader<'_> {
    /// A password. An empty one is refused, as by twemproxy: it would leave open what was meant to be closed.
    pub(super) fn secret(&self, key: &str) -> Read<Option<Secret>> {
        let expected = "a password that is not empty, or no such key";
        self.parsed(key, expected, |text| (!text.is_empty()).then(|| Secret::new(text)))
    }

    pub(super) fn client_auth(&self) -> Read<ClientAuth> {
        let auth = self.named("client_auth", &ClientAuth::ALL, ClientAuth::name)?.unwrap_or_default();
        let others = ["redis_auth", "server_password", "server_password_file", "users"];
        match (auth, others.iter().find(|key| self.entry.get(key).is_some()), self.entry.get("client_auth")) {
            (ClientAuth::Passthrough, Some(other), Some(value)) => {
                let expected =
                    format!("'check', since {other} is set: passwords are the servers' alone or the proxy's");
                Err(self.error("client_auth", value, Problem::BadValue, &expected))
            }
            _ => Ok(auth),
        }
    }

    pub(super) fn users(&self) -> Read<Option<Arc<Users>>> {
        let Some(value) = self.entry.get("users") else { return Ok(None) };
        let expected = "a list of ACL lines, such as - app on >password ~app:* +@all -@dangerous";
        let Data::List(items) = &value.data else {
            return Err(self.error("users", value, Problem::WrongType, expected));
        };
        let password = self.secret("redis_auth")?;
        let mut lines = Vec::new();
        for item in items {
            let Data::Scalar(line) = &item.data else {
                return Err(self.error("users", item, Problem::WrongType, expected));
            };
            // One at a time, so that an error has its line.
            if let Err(error) = Users::parse([line.as_str()], None) {
                return Err(self.error(
                    "users",
                    item,
                    Problem::BadValue,
                    &format!("Redis's syntax: {error}"),
                ));
            }
            lines.push(line.as_str());
        }
        match Users::parse(lines, password.as_ref()) {
            Ok(users) => Ok(Some(Arc::new(users))),
            Err(error) => Err(self.error("users", value, Problem::BadValue, &error.to_string())),
        }
    }

    pub(super) fn credential(&self) -> Read<Option<Credential>> {
        let user = self.text("server_user")?.map(str::to_string);
        let password = self.secret("server_password")?;
        let file = self.file("server_password_file", "the path of a file with the password")?;
        if let (Some(_), Some(_), Some(value)) = (&password, &file, self.entry.get("server_password_file")) {
            let expected = "server_password or server_password_file, not both";
            return Err(self.error("server_password_file", value, Problem::BadValue, expected));
        }
        match (user, password, file) {
            (None, None, None) => Ok(None),
            (Some(_), None, None) => Err(self.missing("server_password", "server_user's password")),
            (user, password, file) => Ok(Some(Credential { user, password, file })),
        }
    }
}

impl Credential {
    /// Reads the password's file, if there is one. The end of its line is not part of a password.
    pub(super) fn read(&mut self) -> Result<(), ConfigError> {
        let Some(path) = &self.file else { return Ok(()) };
        let failed = |reason: String| ConfigError::Read {
            file: format!("server_password_file {}", path.display()),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let password = text.strip_suffix('\n').unwrap_or(&text);
        let password = password.strip_suffix('\r').unwrap_or(password);
        if password.is_empty() || password.contains('\n') {
            return Err(failed("expected one line, the password".to_string()));
        }
        self.password = Some(Secret::new(password));
        Ok(())
    }
}

impl Pool {
    /// What servers are given with AUTH: a user, if it is not the default one, and its password.
    pub fn toward_servers(&self) -> Option<(Option<&str>, &Secret)> {
        match &self.server_credential {
            Some(credential) => Some((credential.user.as_deref(), credential.password.as_ref()?)),
            None => Some((None, self.redis_auth.as_ref()?)),
        }
    }

    fn has_secrets(&self) -> bool {
        let credential = self.server_credential.as_ref();
        self.redis_auth.is_some()
            || self.users.is_some()
            || credential.is_some_and(|credential| credential.file.is_none())
    }
}

/// What an operator should hear about files with passwords.
pub(super) fn remarks(path: &Path, pools: &[Pool]) -> Vec<String> {
    let own = pools.iter().any(Pool::has_secrets).then_some(path);
    let credentials = pools.iter().filter_map(|pool| pool.server_credential.as_ref());
    let files = own.into_iter().chain(credentials.filter_map(|credential| credential.file.as_deref()));
    let public = files.filter(|file| is_world_readable(file));
    let public =
        public.map(|file| format!("{}: everybody on this machine may read passwords in it", file.display()));
    let open = pools.iter().filter(|pool| {
        let default = pool.users.as_ref().map(|users| users.default_user());
        default.is_some_and(|user| user.needs_no_password() && user.may_do_everything())
    });
    let open = open.map(|pool| {
        format!(
            "pool '{}', key 'users': clients that give no password may do everything; 'default off' ends that",
            pool.name
        )
    });
    public.chain(open).collect()
}

/// Whether everybody on this machine may read a file.
pub(crate) fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Pool};

    fn read(lines: &[&str]) -> Result<Pool, String> {
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        let text = format!("p:\n  listen: 0.0.0.0:1\n  redis: true\n  servers:\n   - a:1:1\n{lines}");
        match Config::parse("f", &text) {
            Ok(mut config) => Ok(config.pools.remove(0)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn toward_servers(lines: &[&str]) -> Option<(Option<String>, String)> {
        let pool = read(lines).expect("a good file");
        pool.toward_servers().map(|(user, secret)| (user.map(str::to_string), secret.reveal().to_string()))
    }

    #[test]
    fn who_the_proxy_is_to_servers() {
        assert_eq!(toward_servers(&[]), None);
        assert_eq!(toward_servers(&["redis_auth: a"]), Some((None, "a".to_string())));
        assert_eq!(toward_servers(&["server_password: 0123"]), Some((None, "0123".to_string())));
        let both = ["redis_auth: a", "server_user: u", "server_password: b"];
        assert_eq!(toward_servers(&both), Some((Some("u".to_string()), "b".to_string())));
        for (lines, expected) in [
            (
                &["server_user: u"][..],
                "key 'server_password': missing key: ''; expected server_user's password",
            ),
            (
                &["server_password: b", "server_password_file: f"],
                "key 'server_password_file': bad value: 'f'; expected server_password or",
            ),
            (
                &["redis_auth: \"\""],
                "key 'redis_auth': bad value: a value; expected a password that is not empty",
            ),
            (&["redis_auth:"], "key 'redis_auth': bad value: a value; expected a password that is not empty"),
            (&["server_password: ''"], "key 'server_password': bad value: a value; expected a password"),
            (&["server_password_file: ''"], "key 'server_password_file': bad value: ''; expected the path"),
        ] {
            let message = read(lines).expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let pool = read(&["redis_auth: xyzzy", "server_password: plugh"]).expect("a good file");
        let shown = format!("{pool:?}");
        assert!(!shown.contains("xyzzy") && !shown.contains("plugh"), "{shown}");
        for line in ["redis_pass: xyzzy", "redis_aut: xyzzy", "server_pasword: xyzzy"] {
            let message = read(&[line]).expect_err(line);
            assert!(message.contains("unknown key") && !message.contains("xyzzy"), "{message}");
        }
    }

    #[test]
    fn a_password_from_a_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (conf, file) = (dir.path().join("c.yml"), dir.path().join("password"));
        let text = format!(
            "p:\n  listen: 0.0.0.0:1\n  redis: true\n  servers: [a:1:1]\n  server_password_file: {}\n",
            file.display()
        );
        std::fs::write(&conf, text).expect("a write");
        let message = Config::load(&conf).expect_err("no file").to_string();
        assert!(message.contains("server_password_file") && message.contains("No such file"), "{message}");
        for (text, expected) in
            [("sesame\n", Some("sesame")), ("a b", Some("a b")), ("\n", None), ("a\nb\n", None)]
        {
            std::fs::write(&file, text).expect("a write");
            let loaded = Config::load(&conf);
            let found = loaded.as_ref().ok().and_then(|config| config.pools[0].toward_servers());
            assert_eq!(found.map(|(_, secret)| secret.reveal()), expected, "{text:?}");
        }
    }
}
