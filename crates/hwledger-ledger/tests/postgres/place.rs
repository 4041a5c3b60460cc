//! A database of its own for a test, with an owner and a role for programs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use hwledger_ledger::event::{AgentLost, Count, Draft};
use hwledger_ledger::store::postgres::{Address, PostgresLedger, PostgresPlaces, Reader, Transport, migrate};
use postgres::{Client, NoTls};

/// The connection string of a server that tests may do with as they like, as `key=value` pairs, for a superuser.
const VARIABLE: &str = "HWLEDGER_POSTGRES";

/// The name of every ledger here.
pub(crate) const ORIGIN: &str = "example.com/test";

/// A database and a folder, which go with their test.
pub(crate) struct Place {
    server: String,
    pub(crate) database: String,
    pub(crate) folder: PathBuf,
}

fn address(text: &str) -> Address {
    Address::parse(text, Transport::Verified).unwrap()
}

impl Place {
    /// A new database with the tables of a ledger; none where there is no server.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var(VARIABLE) else {
            eprintln!("skipped: {VARIABLE} names no PostgreSQL server; `.ci/postgres` starts one");
            return None;
        };
        let name = format!("hwledger_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut client = Client::connect(&server, NoTls).unwrap();
        // The lock is held until the roles can be seen by others, not within their transaction.
        client.batch_execute("SELECT pg_advisory_lock(1)").unwrap();
        let roles = "DO $$ BEGIN
                         IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hwledger_owner') THEN
                             CREATE ROLE hwledger_owner LOGIN;
                             CREATE ROLE \"hwledger program\" LOGIN;
                         END IF;
                     END $$";
        client.batch_execute(roles).unwrap();
        client.batch_execute("SELECT pg_advisory_unlock(1)").unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name} OWNER hwledger_owner TEMPLATE template0")).unwrap();
        let place = Self { server, database: name, folder };
        migrate(&place.owner(), "hwledger program").unwrap();
        Some(place)
    }

    fn text(&self, user: &str) -> String {
        format!("{} user='{user}' dbname={}", self.server, self.database)
    }

    /// The role that owns the tables.
    pub(crate) fn owner(&self) -> Address {
        address(&self.text("hwledger_owner"))
    }

    /// The role of programs.
    pub(crate) fn program(&self) -> Address {
        address(&self.text("hwledger program"))
    }

    /// The same as text, for another process.
    pub(crate) fn program_text(&self) -> String {
        self.text("hwledger program")
    }

    /// A connection beside the ledger's code.
    pub(crate) fn client(&self, user: &str) -> Client {
        Client::connect(&self.text(user), NoTls).unwrap()
    }

    /// Statements that have nothing to do with this database.
    pub(crate) fn on_server(&self, statements: &str) {
        self.superuser().batch_execute(statements).unwrap();
    }

    /// Who sees everything on the server.
    pub(crate) fn superuser(&self) -> Client {
        Client::connect(&self.server, NoTls).unwrap()
    }

    /// What the server says of one of its settings.
    pub(crate) fn setting(&self, name: &str) -> String {
        self.superuser().query_one(&format!("SHOW {name}"), &[]).unwrap().get(0)
    }

    pub(crate) fn signer(&self) -> PathBuf {
        self.folder.join("signer")
    }

    pub(crate) fn places(&self) -> PostgresPlaces {
        PostgresPlaces { address: self.program(), signer: Some(self.signer()) }
    }

    /// The same for a process that leaves the sequencing to others.
    pub(crate) fn places_without_signer(&self) -> PostgresPlaces {
        PostgresPlaces { address: self.program(), signer: None }
    }

    pub(crate) fn ledger(&self) -> PostgresLedger {
        PostgresLedger::create(&self.places(), ORIGIN, None).unwrap()
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::open(&self.program()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        if let Ok(mut client) = Client::connect(&self.server, NoTls) {
            let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database));
        }
    }
}

/// A small event, another one for every number.
pub(crate) fn draft(number: u64) -> Draft {
    let agent = format!("agent-{}", number % 7);
    Draft::new("test", &format!("agent/{agent}"), AgentLost { agent, last_seen_at_ns: Count(number) })
}
