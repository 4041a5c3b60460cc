//! Where the server is, and how it is connected to.

use std::fmt;
use std::time::Duration;

use ::postgres::config::Host;
use ::postgres::fallible_iterator::FallibleIterator as _;
use ::postgres::{Client, Config, NoTls};

use super::{StoreError, in_server};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A silent connection over a network is asked for a sign of life after this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Which servers may be connected to, as nothing is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Only one on this machine: by a Unix socket, `localhost` or a loopback address.
    ThisMachine,
    /// Any. Events, and the password if the server asks for it in the clear, can be read on the way: for networks that
    /// are encrypted by other means.
    Unencrypted,
}

/// Where a ledger's database is and who connects. It may hold a password, and never prints it.
#[derive(Clone)]
pub struct Address {
    config: Config,
    database: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Address").field("database", &self.database).finish_non_exhaustive()
    }
}

fn unsuitable(what: &str) -> StoreError {
    StoreError::Unsuitable { path: "the PostgreSQL connection string".to_owned(), what: what.to_owned() }
}

impl Address {
    /// Reads a connection string: `host=/run/postgresql user=hwledger dbname=ledger` or a `postgresql://` URL.
    ///
    /// # Errors
    ///
    /// It is none, names no host, or one that `transport` does not allow. No part of it is in the message.
    pub fn parse(text: &str, transport: Transport) -> Result<Self, StoreError> {
        // The parser's own message would quote what may be a part of the password.
        let mut config: Config = text.parse().map_err(|_| unsuitable("it cannot be read"))?;
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
        // Where both are given, the addresses are connected to.
        let is_local = if config.get_hostaddrs().is_empty() {
            config.get_hosts().iter().all(is_local)
        } else {
            config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
        };
        if !is_local && transport == Transport::ThisMachine {
            return Err(unsuitable("it names another machine, and connections are not encrypted"));
        }
        let name = config.get_dbname().or(config.get_user()).unwrap_or("(default)");
        let database = format!("PostgreSQL database `{name}`");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.keepalives_idle(KEEP_ALIVE).keepalives_interval(KEEP_ALIVE).keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("hwledger");
        }
        Ok(Self { config, database })
    }

    /// Names the database in messages, without host, user or password.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// A connection that is set as every one of ours is: commits are durable when they are answered, names are those of
    /// our schema, and no statement takes for ever.
    pub(super) fn connect(&self) -> Result<Client, ::postgres::Error> {
        let mut client = self.config.connect(NoTls)?;
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
    fn other_machines_are_refused_and_secrets_are_not_told() {
        let local = [
            "host=/run/x dbname=y",
            "host=localhost user=u password=sesame",
            "postgresql://u:sesame@127.0.0.1/y",
            "host=::1 user=u",
        ];
        for text in local {
            let address = Address::parse(text, Transport::ThisMachine).unwrap();
            assert!(!format!("{address:?} {}", address.database()).contains("sesame"), "{text}");
        }
        let elsewhere = [
            "host=db.example user=u password=sesame",
            "postgresql://u:sesame@10.0.0.1/y",
            "host=localhost,db.example user=u",
            "host=localhost hostaddr=192.0.2.1 user=u",
            "host=localhost.example user=u",
        ];
        for text in elsewhere {
            let refused = Address::parse(text, Transport::ThisMachine).unwrap_err().to_string();
            assert!(refused.contains("another machine") && !refused.contains("sesame"), "{refused}");
            assert!(Address::parse(text, Transport::Unencrypted).is_ok(), "{text}");
        }
        for text in ["host=localhost password=open sesame", "host=localhost port=sesame", "user=u password=sesame"] {
            let refused = format!("{:?}", Address::parse(text, Transport::ThisMachine).unwrap_err());
            assert!(!refused.contains("sesame"), "{refused}");
        }
    }
}
