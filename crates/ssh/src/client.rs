//! A client for one command, on a connection that is there already: for a program that owns the lab itself, where the
//! machine's ssh finds nothing to connect to.

use crate::identity;
use anyhow::{Context, Result, bail};
use russh::client::{self, Handler};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Error};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// A key to log in with, which is nowhere but in memory. It is never printed.
#[derive(Clone)]
pub struct Client(PrivateKey);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// What a command printed, and its exit status; `None` when it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What it printed to stdout; invalid UTF-8 replaced.
    pub output: String,
    /// Its exit status.
    pub code: Option<u32>,
}

/// Knows the server by its key.
struct Known(PublicKey);

impl Handler for Known {
    type Error = Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(
            matches!(key, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()),
        )
    }
}

impl Client {
    /// A new key.
    pub fn random() -> Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("get random bytes")?;
        Ok(Self(PrivateKey::from(Ed25519Keypair::from_seed(&seed))))
    }

    /// The public key: type, key and comment.
    pub fn public(&self) -> String {
        identity::public(&self.0, "tombolo")
    }

    /// Logs in to the host that has this key, and runs a command there without input, for no longer than it may take.
    pub fn run(
        &self,
        stream: TcpStream,
        host_key: &str,
        user: &str,
        command: &str,
        limit: Duration,
    ) -> Result<Said> {
        let known = Known(PublicKey::from_openssh(host_key).context("the host key")?);
        stream.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let said = self.say(stream, known, user, command);
            tokio::time::timeout(limit, said).await.context("not within its time")?
        })
    }

    async fn say(&self, stream: TcpStream, known: Known, user: &str, command: &str) -> Result<Said> {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let mut session = client::connect_stream(Arc::default(), stream, known).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(self.0.clone()), None);
        if !session.authenticate_publickey(user, key).await?.success() {
            bail!("permission denied");
        }
        let mut channel = session.channel_open_session().await?;
        channel.exec(true, command).await?;
        channel.eof().await?;
        let (mut output, mut code) = (Vec::new(), None);
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => output.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
                _ => {}
            }
        }
        Ok(Said { output: String::from_utf8_lossy(&output).into_owned(), code })
    }
}
