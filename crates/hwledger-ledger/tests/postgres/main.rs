//! The ledger on a PostgreSQL server, as several processes use it. `.ci/postgres` starts a server and runs these tests;
//! without one they say that they were skipped.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::print_stderr, reason = "a test that was skipped says so")]

mod appending;
mod encryption;
mod place;
mod processes;
mod projections;
mod reading;
mod rights;
mod rotation;
mod sequencing;
