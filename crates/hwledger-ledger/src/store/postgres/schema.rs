//! The tables, their versions, and what the role that owns them may do.

use ::postgres::types::{ToSql, Type};
use ::postgres::{Client, Transaction};

use super::{Address, LOCK_OF_MIGRATION, LOCK_SPACE, StoreError, in_server};
use crate::store::entry::{KEPT_KIND, KEPT_SUBJECT};

/// One step per version of the tables, from the first.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// Version of the tables.
pub const SCHEMA_VERSION: i32 = 1;

const _: () = assert!(MIGRATIONS.len() == SCHEMA_VERSION as usize, "one step per version");

fn unsuitable(address: &Address, what: impl Into<String>) -> StoreError {
    StoreError::Unsuitable { path: address.database().to_owned(), what: what.into() }
}

/// Makes the tables or brings them up to date, and lets `program_role` read and append. To be called as the role that
/// owns the tables, which should be another one: whoever owns a table may change it. Where it is the same one, nothing is
/// taken from it.
///
/// # Errors
///
/// The server cannot be reached, the role may not create a schema, `program_role` does not exist, or the tables are newer
/// than this program.
pub fn migrate(address: &Address, program_role: &str) -> Result<(), StoreError> {
    let mut client = in_server(address, address.connect())?;
    let mut transaction = in_server(address, client.transaction())?;
    let encoding = "SELECT current_setting('server_encoding') = 'UTF8'";
    if !in_server(address, transaction.query_typed_one(encoding, &[]).and_then(|row| row.try_get(0)))? {
        return Err(unsuitable(address, "its encoding is not UTF-8"));
    }
    let lock = "SELECT pg_advisory_xact_lock($1, $2)";
    let lock = transaction.query_typed(lock, &[(&LOCK_SPACE, Type::INT4), (&LOCK_OF_MIGRATION, Type::INT4)]);
    in_server(address, lock)?;
    let found = in_server(address, version_in(&mut transaction))?.unwrap_or(0);
    if found > SCHEMA_VERSION {
        return Err(newer(address, found));
    }
    for (version, step) in (1..).zip(MIGRATIONS) {
        if version > found {
            in_server(address, transaction.batch_execute(step))?;
            let note = "INSERT INTO hwledger.migrations (version) VALUES ($1)";
            in_server(address, transaction.execute_typed(note, &[(&version, Type::INT4)]))?;
        }
    }
    let parameter = [(&program_role as _, Type::NAME)];
    let is_other = transaction.query_typed_one(
        "SELECT pg_get_userbyid(nspowner) <> $1 FROM pg_namespace WHERE nspname = 'hwledger'",
        &parameter,
    );
    // An owner without its own rights could not do what the functions do in its name.
    if in_server(address, is_other.and_then(|row| row.try_get(0)))? {
        in_server(address, transaction.query_typed("SELECT hwledger.admit($1)", &parameter))?;
    }
    in_server(address, transaction.commit())
}

fn newer(address: &Address, found: i32) -> StoreError {
    unsuitable(address, format!("version {found} of the tables; this program knows {SCHEMA_VERSION}"))
}

fn version_in(transaction: &mut Transaction<'_>) -> Result<Option<i32>, ::postgres::Error> {
    let exists = "SELECT to_regclass('hwledger.migrations') IS NOT NULL";
    if !transaction.query_typed_one(exists, &[])?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    transaction.query_typed_one("SELECT max(version) FROM hwledger.migrations", &[])?.try_get(0)
}

/// Checks that the tables are of this program's version, and that the server makes durable what it says it does.
pub(super) fn check(address: &Address, client: &mut Client) -> Result<(), StoreError> {
    let mut transaction = in_server(address, client.transaction())?;
    match in_server(address, version_in(&mut transaction))? {
        Some(SCHEMA_VERSION) => {}
        Some(newer_one) if newer_one > SCHEMA_VERSION => return Err(newer(address, newer_one)),
        Some(older) => {
            return Err(unsuitable(
                address,
                format!("version {older} of the tables; `ledger migrate` brings them up to date"),
            ));
        }
        None => return Err(StoreError::NotBegun { database: address.database().to_owned(), has_tables: false }),
    }
    let durable = "SELECT current_setting('fsync') = 'on'";
    if in_server(address, transaction.query_typed_one(durable, &[]).and_then(|row| row.try_get(0)))? {
        return Ok(());
    }
    Err(unsuitable(address, "`fsync` is off: what the server acknowledges would not survive a power cut"))
}

/// The role that a connection has, such as the one that [`migrate`] is to let in.
///
/// # Errors
///
/// The server cannot be reached.
pub fn role(address: &Address) -> Result<String, StoreError> {
    let mut client = in_server(address, address.connect())?;
    let role = "SELECT current_user::text";
    in_server(address, client.query_typed_one(role, &[]).and_then(|row| row.try_get(0)))
}

/// Drops the data of the first `end` entries. Their hashes, and so all proofs, stay. To be called as the role that owns
/// the tables: the program's may not.
///
/// # Errors
///
/// The server cannot be reached, or the role may not.
pub fn prune(address: &Address, end: u64) -> Result<u64, StoreError> {
    let statement = "UPDATE hwledger.entries SET bytes = NULL
                     WHERE position < $1 AND bytes IS NOT NULL AND subject <> $2 AND kind <> $3";
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&end.cast_signed(), Type::INT8), (&KEPT_SUBJECT, Type::TEXT), (&KEPT_KIND, Type::TEXT)];
    let mut client = in_server(address, address.connect())?;
    in_server(address, client.execute_typed(statement, &values))
}
