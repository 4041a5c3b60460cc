//! Where the server is, and how it is connected to.

use std::fmt;
use std::time::Duration;

use ::postgres::config::Host;
use ::postgres::config::SslMode;
use ::postgres::fallible_iterator::FallibleIterator as _;
use ::postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::encryption::{Mode, Wanted};
use super::{StoreError, in_server};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A silent connection over a network is asked for a sign of life after this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How servers are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One on this machine (a Unix socket, `localhost`, a loopback address) in the clear, unless the connection string asks
    /// for TLS; any other only through TLS, once its certificate was verified.
    Verified,
    /// Any in the clear, unless the connection string asks for TLS. Events, and the password if the server asks for it in
    /// the clear, can be read on the way: for networks that are encrypted by other means.
    Unencrypted,
}

/// Where a ledger's database is and who connects. It may hold a password, and never prints it.
#[derive(Clone)]
pub struct Address {
    config: Config,
    database: String,
    /// What encrypts; none where nothing is.
    encryption: Option<MakeRustlsConnect>,
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Address");
        shown
            .field("database", &self.database)
            .field("is_encrypted", &self.encryption.is_some())
            .finish_non_exhaustive()
    }
}

fn unsuitable(what: &str) -> StoreError {
    StoreError::Unsuitable { path: "the PostgreSQL connection string".to_owned(), what: what.to_owned() }
}

impl Address {
    /// Reads a connection string: `host=/run/postgresql user=hwledger dbname=ledger` or a `postgresql://` URL. `sslmode` is
    /// one of PostgreSQL's words, of which `require`, `verify-ca` and `verify-full` all mean the last; `sslrootcert` names a
    /// PEM file of the authorities whose certificates are believed, in place of the usual public ones.
    ///
    /// # Errors
    ///
    /// It is none, names no host, or asks for what `transport` does not allow; or the certificates cannot be read. Of the
    /// string the message shows no more than the name of that file.
    pub fn parse(text: &str, transport: Transport) -> Result<Self, StoreError> {
        // The parser's own message would quote what may be a part of the password.
        let (rest, wanted) = Wanted::take_from(text).map_err(|what| unsuitable(&what))?;
        let mut config: Config = rest.parse().map_err(|_| unsuitable("it cannot be read"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(unsuitable("it names no host"));
        }
        let is_local = |host: &Host| match host {
            Host::Tcp(name) => {
                name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            #[cfg(unix)]
            Host::Unix(_) => true,
        };
        let is_socket = |host: &Host| !matches!(host, Host::Tcp(_));
        // Where both are given, the addresses are connected to.
        let is_local = if config.get_hostaddrs().is_empty() {
            config.get_hosts().iter().all(is_local)
        } else {
            config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
        };
        let encryption = match wanted.mode {
            Some(Mode::Never | Mode::Either) if !is_local && transport == Transport::Verified => {
                let what = "it names another machine, to which connections are encrypted and verified, and its `sslmode` \
                            allows what is not";
                return Err(unsuitable(what));
            }
            Some(Mode::Verified) => true,
            None => !is_local && transport == Transport::Verified,
            Some(Mode::Never | Mode::Either) => false,
        };
        if encryption && config.get_hosts().is_empty() {
            return Err(unsuitable(
                "it names an address, and no `host` that the server's certificate could be checked for",
            ));
        }
        // As everywhere with PostgreSQL, sockets of this machine are not encrypted whatever is asked for.
        let is_socket = config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(is_socket);
        let encryption = encryption && !is_socket;
        let encryption = encryption.then(|| wanted.connector()).transpose().map_err(|what| unsuitable(&what))?;
        config.ssl_mode(if encryption.is_some() { SslMode::Require } else { SslMode::Disable });
        let name = config.get_dbname().or(config.get_user()).unwrap_or("(default)");
        let database = format!("PostgreSQL database `{name}`");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.keepalives_idle(KEEP_ALIVE).keepalives_interval(KEEP_ALIVE).keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("hwledger");
        }
        Ok(Self { config, database, encryption })
    }

    /// Whether the connection is encrypted, and the server's certificate verified.
    pub const fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Names the database in messages, without host, user or password.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A connection that is set as every one of ours is: commits are durable when they are answered, names are those of
    /// our schema, and no statement takes for ever.
    pub(super) fn connect(&self) -> Result<Client, ::postgres::Error> {
        let mut client = match &self.encryption {
            Some(encryption) => self.config.connect(encryption.clone())?,
            None => self.config.connect(NoTls)?,
        };
        // `remote_apply` promises more than `on` does, and stays.
        client.batch_execute(
            "SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
             SET search_path = hwledger, pg_temp; SET statement_timeout = '30s'; SET lock_timeout = '10s';
             SET client_min_messages = warning; SET default_transaction_isolation = 'read committed';",
        )?;
        Ok(client)
    }

    /// A connection that only reads.
    pub(super) fn connect_to_read(&self) -> Result<Client, StoreError> {
        let client = self.connect().and_then(|mut client| {
            client.batch_execute("SET default_transaction_read_only = on")?;
            Ok(client)
        });
        in_server(self, client)
    }
}

/// Waits for a notification, `wait` at most, and takes all there are: what each says.
pub(super) fn notified(client: &mut Client, wait: Duration) -> Result<Vec<String>, ::postgres::Error> {
    let mut notifications = client.notifications();
    let first = notifications.timeout_iter(wait).next()?;
    let mut payloads: Vec<String> = first.iter().map(|first| first.payload().to_owned()).collect();
    let mut rest = notifications.iter();
    while let Some(next) = rest.next()? {
        payloads.push(next.payload().to_owned());
    }
    Ok(payloads)
}

/// A connection that is made again when it was lost.
pub(super) struct Link {
    pub(super) address: Address,
    /// What each new connection begins with.
    greeting: &'static str,
    client: Option<Client>,
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) const fn new(address: Address, greeting: &'static str) -> Self {
        Self { address, greeting, client: None }
    }

    /// The connection.
    pub(super) fn client(&mut self) -> Result<&mut Client, ::postgres::Error> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let mut client = self.address.connect()?;
            if !self.greeting.is_empty() {
                client.batch_execute(self.greeting)?;
            }
            self.client = Some(client);
        }
        Ok(self.client.as_mut().expect("it was just made"))
    }

    /// Gives the connection up after a failure: whatever state it was in is gone.
    pub(super) fn drop_connection(&mut self) {
        self.client = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Transport};

    #[test]
    fn other_machines_are_spoken_to_in_secret_and_secrets_are_not_told() {
        let local = [
            "host=/run/x dbname=y",
            "host=/run/x dbname=y sslmode=verify-full",
            "host=localhost user=u password=sesame",
            "postgresql://u:sesame@127.0.0.1/y",
            "postgresql://u:sesame@127.0.0.1/y?sslmode=prefer",
            "host=::1 user=u sslmode=disable",
            "host=db.example hostaddr=127.0.0.1 user=u",
        ];
        for text in local {
            let address = Address::parse(text, Transport::Verified).unwrap();
            assert!(!format!("{address:?} {}", address.database()).contains("sesame"), "{text}");
            assert!(!address.is_encrypted(), "{text}");
        }
        let elsewhere = [
            "host=db.example user=u password=sesame",
            "postgresql://u:sesame@10.0.0.1/y",
            "host=localhost,db.example user=u",
            "host=localhost hostaddr=192.0.2.1 user=u",
            "host=localhost.example user=u",
        ];
        for text in elsewhere {
            let plain = Address::parse(text, Transport::Unencrypted).unwrap();
            assert!(!plain.is_encrypted(), "{text}");
            let sign = if text.contains("://") { '?' } else { ' ' };
            let encrypted = ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"];
            let encrypted = encrypted.map(|mode| format!("{text}{sign}{mode}"));
            for text in encrypted.iter().map(String::as_str).chain([text]) {
                let address = Address::parse(text, Transport::Verified).unwrap();
                assert!(address.is_encrypted() && !format!("{address:?}").contains("sesame"), "{text}");
            }
            for mode in ["sslmode=disable", "sslmode=allow", "sslmode=prefer"] {
                let refused =
                    Address::parse(&format!("{text}{sign}{mode}"), Transport::Verified).unwrap_err().to_string();
                assert!(refused.contains("another machine") && !refused.contains("sesame"), "{refused}");
            }
        }
        assert!(Address::parse("host=localhost sslmode=verify-full", Transport::Verified).unwrap().is_encrypted());
        for text in [
            "host=localhost password=open sesame",
            "host=localhost port=sesame",
            "user=u password=sesame",
            "hostaddr=192.0.2.1 user=u password=sesame",
            "host=localhost sslmode=sesame",
            "host=db.example password=sesame sslrootcert=/nowhere",
        ] {
            let refused = format!("{:?}", Address::parse(text, Transport::Verified).unwrap_err());
            assert!(!refused.contains("sesame"), "{refused}");
        }
    }
}
