//! A ledger on a PostgreSQL server, from the command line. `.ci/postgres` starts a server and runs these tests; without
//! one they say that they were skipped.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::print_stderr, reason = "a test that was skipped says so")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, NoTls};
use serde_json::Value;

/// The connection string of a server that tests may do with as they like, as `key=value` pairs, for a superuser.
const VARIABLE: &str = "HWLEDGER_POSTGRES";

/// The environment variables of the program.
const DATABASE: &str = "HWLEDGER_LEDGER_DATABASE";
const OWNER: &str = "HWLEDGER_LEDGER_OWNER";

/// A password that the server does not ask for, and that must be in nothing that is printed.
const PASSWORD: &str = "sesame-of-the-tests";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database with an owner and a role for programs, which goes with its test.
struct Database {
    server: String,
    name: String,
}

impl Database {
    fn new() -> Option<Self> {
        let Ok(server) = std::env::var(VARIABLE) else {
            eprintln!("skipped: {VARIABLE} names no PostgreSQL server; `.ci/postgres` starts one");
            return None;
        };
        let name = format!("hwledger_program_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut client = Client::connect(&server, NoTls).unwrap();
        client.batch_execute("SELECT pg_advisory_lock(2)").unwrap();
        let roles = "DO $$ BEGIN
                         IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ledger_owner') THEN
                             CREATE ROLE ledger_owner LOGIN;
                             CREATE ROLE ledger_program LOGIN;
                         END IF;
                     END $$";
        client.batch_execute(roles).unwrap();
        client.batch_execute("SELECT pg_advisory_unlock(2)").unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name} OWNER ledger_owner TEMPLATE template0")).unwrap();
        Some(Self { server, name })
    }

    fn text(&self, user: &str) -> String {
        format!("{} user={user} dbname={} password={PASSWORD}", self.server, self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Ok(mut client) = Client::connect(&self.server, NoTls) {
            let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

/// A machine with a home and an environment of its own.
struct Machine {
    home: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Machine {
    fn new(environment: &[(&'static str, String)]) -> Self {
        let name = format!("hwledger-machine-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let home = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&home).unwrap();
        Self { home, environment: environment.to_vec() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hwledger"));
        command.args(arguments).env_clear().env("HOME", &self.home);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    /// What a command prints; it must end with `status`, and tell no password.
    #[track_caller]
    fn says(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        let text = String::from_utf8(output.stdout).unwrap() + &error;
        assert!(!text.contains(PASSWORD), "{text}");
        text
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(0, &[arguments, &["--json"]].concat())).unwrap()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.home.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.home.join(name).display().to_string()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// A process that is stopped with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const BENCH: &[&str] =
    &["bench", "demo", "--prompt", "32", "--generate", "8", "--sequences", "2", "--repetitions", "1"];

/// What the entries are, but for those about the machine itself, whose number depends on it.
fn kinds(machine: &Machine) -> Vec<String> {
    let log = machine.json(&["ledger", "log", "--limit", "100"]);
    let kinds = log["entries"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| !kind.starts_with("Device") && kind != "TelemetryWindowRecorded").collect()
}

fn size(machine: &Machine) -> u64 {
    machine.json(&["ledger", "log"])["size"].as_u64().unwrap()
}

#[test]
fn the_whole_loop_goes_over_a_server() {
    let Some(database) = Database::new() else { return };
    let program = (DATABASE, database.text("ledger_program"));
    let machine = Machine::new(&[program.clone(), (OWNER, database.text("ledger_owner"))]);
    let text = machine.says(2, &["ledger", "log"]);
    let missing = format!("error: there is no ledger in PostgreSQL database `{}`", database.name);
    assert!(text.starts_with(&missing) && text.contains("hint: `hwledger ledger init`"), "{text}");
    let text = machine.says(0, BENCH);
    assert!(text.contains("warning: not recorded: there is no ledger in PostgreSQL"), "{text}");

    let begun = machine.json(&["ledger", "init", "--origin", "example.com/lab"]);
    assert_eq!(begun["database"], format!("PostgreSQL database `{}`", database.name));
    let key = begun["key"].as_str().unwrap().to_owned();
    assert!(machine.says(2, &["ledger", "init"]).contains("there is a ledger already"));
    let early = machine.write("early.note", &machine.says(0, &["ledger", "checkpoint"]));

    // Said before the run, measured after it, compared, learnt from.
    machine.says(0, BENCH);
    let [predicted, measured] = ["PredictionMade", "EngineWindowRecorded"];
    assert_eq!(kinds(&machine), ["LedgerCreated", predicted, predicted, predicted, measured, measured, measured]);
    assert_eq!(machine.json(&["reconcile"])["runs"].as_array().unwrap().len(), 3);
    assert!(machine.says(0, &["reconcile"]).contains("no run to compare"));
    let learnt = machine.json(&["calibrate", "--from-ledger"]);
    assert_eq!((learnt["runs"].as_u64(), learnt["excluded"].as_array().unwrap().len()), (Some(3), 0), "{learnt}");
    assert!(machine.says(0, &["ledger", "log", "--kind", "CalibrationUpdated"]).contains("decode_tokens_per_s"));
    // Nothing of it went to a file of the same user.
    assert!(!machine.home.join(".local/share/hwledger/ledger").exists());
    assert!(machine.says(0, &["ledger", "show", "1"]).contains("signed      by the checkpoint of"));

    // What anyone needs to check it.
    let checked = machine.says(0, &["ledger", "verify", "--key", &key, "--checkpoint", &early]);
    assert_eq!(checked.matches("  holds  ").count(), 4, "{checked}");
    let proof = machine.write("entry.tlog-proof", &machine.says(0, &["ledger", "prove", "1"]));
    let consistency = machine.write("consistency", &machine.says(0, &["ledger", "consistency", &early]));
    let bundle = machine.path("bundle");
    machine.says(0, &["ledger", "export", &bundle]);
    let stranger = Machine::new(&[]);
    let text = stranger.says(0, &["ledger", "verify-proof", &proof, "--key", &key]);
    assert!(text.starts_with("entry 1 is in example.com/lab"), "{text}");
    stranger.says(0, &["ledger", "verify-proof", &consistency, "--old", &early, "--key", &key]);
    let text = stranger.says(0, &["ledger", "verify", "--bundle", &bundle, "--key", &key, "--checkpoint", &early]);
    assert_eq!(text.matches("  holds  ").count(), 4, "{text}");

    // Another key.
    let text = machine.says(0, &["ledger", "rotate", "--reason", "a laptop was lost"]);
    let new = text.lines().next().unwrap().to_owned();
    assert!(new.starts_with("example.com/lab+") && new != key, "{text}");
    machine.says(0, &["ledger", "rotate", "--finish"]);
    assert!(machine.says(2, &["ledger", "rotate", "--finish"]).contains("no rotation is under way"));
    machine.says(0, &["ledger", "redact", "host/box"]);
    machine.says(0, &["ledger", "export", &bundle]);
    for key in [&key, &new] {
        assert!(machine.says(0, &["ledger", "verify", "--key", key]).contains("3  holds"));
        assert!(stranger.says(0, &["ledger", "verify", "--bundle", &bundle, "--key", key]).contains("3  holds"));
    }
    let first = machine.says(0, &["ledger", "fsck"]);
    let again = machine.says(0, &["ledger", "fsck", "--repair-projections"]);
    assert!(first.contains("runs of") && first.contains("nothing is wrong"), "{first}");
    assert_eq!(first, again, "what is made anew is the same");
}

#[test]
fn other_machines_append_and_leave_the_signing_to_one() {
    let Some(database) = Database::new() else { return };
    let program = (DATABASE, database.text("ledger_program"));
    let machine = Machine::new(&[program.clone(), (OWNER, database.text("ledger_owner"))]);
    machine.says(0, &["ledger", "init", "--origin", "example.com/fleet"]);
    let child = machine.command(&["ledger", "sequence"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "sequencing example.com/fleet\n");

    let other = Machine::new(std::slice::from_ref(&program));
    other.says(0, &["run", "demo", "Quixotic zebras", "-n", "12", "--temperature", "0"]);
    assert_eq!(other.json(&["reconcile"])["runs"].as_array().unwrap().len(), 1);
    assert_eq!(kinds(&machine).len(), 4);
    let text = other.says(0, &["ledger", "checkpoint"]);
    assert!(text.starts_with(&format!("example.com/fleet\n{}\n", size(&machine))), "{text}");
    let bundle = other.path("bundle");
    let text = other.says(0, &["ledger", "export", &bundle]);
    assert!(text.starts_with(&format!("{} entries of example.com/fleet", size(&machine))), "{text}");
    assert!(other.says(0, &["ledger", "verify"]).contains("3  holds"));
    // What needs the signer is done where it is.
    for arguments in [&["redact", "host/box"][..], &["sequence"]] {
        let text = other.says(2, &[&["ledger"], arguments].concat());
        assert!(text.contains("the signer of `example.com/fleet` is not on this machine"), "{text}");
    }
    assert!(other.says(2, &["ledger", "rotate"]).contains("no folder of a signer"));
    // A key that changes meanwhile changes for whoever sequences.
    machine.says(0, &["ledger", "rotate"]);
    machine.says(0, &["ledger", "rotate", "--finish"]);
    other.says(0, &["run", "demo", "Hello", "-n", "3"]);
    other.says(0, &["ledger", "export", &bundle]);
    assert!(other.says(0, &["ledger", "verify", "--bundle", &bundle]).contains("3  holds"));
    // The role of programs makes no tables and drops nothing.
    let text = other.says(2, &["ledger", "migrate"]);
    assert!(text.contains("hint: `HWLEDGER_LEDGER_OWNER` says how the owner of the tables connects"), "{text}");
    assert!(machine.says(0, &["ledger", "migrate"]).contains("`ledger_program` reads and appends"));
}

#[test]
fn one_role_and_a_ledger_that_was_outgrown_will_do() {
    let Some(database) = Database::new() else { return };
    // The owner of everything runs the programs too.
    let server = (DATABASE, database.text("ledger_owner"));
    let machine = Machine::new(std::slice::from_ref(&server));
    let small = machine.path("small");
    machine.says(0, &["ledger", "init", "--ledger", &small, "--origin", "example.com/small"]);
    machine.says(0, &["ledger", "init", "--origin", "example.com/large", "--continues", &small]);
    let list = machine.says(0, &["ledger", "log"]);
    assert!(list.contains("continues=example.com/small") && list.contains("RestoreDone"), "{list}");
    assert!(machine.says(0, &["ledger", "log", "--ledger", &small]).starts_with("example.com/small: 1 entries"));
    assert!(machine.says(0, &["ledger", "log", "--ledger", "postgres"]).starts_with("example.com/large: 2 entries"));
    let next = machine.path("next");
    machine.says(0, &["ledger", "init", "--ledger", &next, "--continues", "postgres"]);
    assert!(machine.says(0, &["ledger", "log", "--ledger", &next]).contains("continues=example.com/large"));
    let places = machine.json(&["ledger", "verify"]);
    assert_eq!(places["size"], 2);
}

#[test]
fn the_first_run_that_is_to_be_recorded_begins_a_ledger() {
    let Some(database) = Database::new() else { return };
    let machine = Machine::new(&[
        (DATABASE, database.text("ledger_program")),
        (OWNER, database.text("ledger_owner")),
        ("HWLEDGER_LEDGER_FOLDER", std::env::temp_dir().join(&database.name).display().to_string()),
    ]);
    machine.says(0, &[BENCH, &["--record"]].concat());
    assert_eq!(kinds(&machine).len(), 7);
    let folder = Path::new(&machine.environment[2].1);
    assert!(folder.join("blobs").is_dir());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn mistakes_get_one_sentence_and_no_secret() {
    let home = |text: &str| Machine::new(&[(DATABASE, text.to_owned())]);
    let nowhere = std::env::temp_dir().join("hwledger-no-such-server");
    let cases = [
        (format!("host={} user=u password={PASSWORD}", nowhere.display()), "error connecting to server"),
        (
            format!("user=u password={PASSWORD}"),
            "`HWLEDGER_LEDGER_DATABASE`: the PostgreSQL connection string: it names no host",
        ),
        (format!("host=localhost password={PASSWORD} {PASSWORD}"), "it cannot be read"),
        (format!("host=db.example user=u password={PASSWORD} sslmode=disable"), "its `sslmode` allows what is not"),
        (format!("postgres://u:{PASSWORD}@db.example/d?sslrootcert=/nowhere"), "`/nowhere`, its `sslrootcert`"),
    ];
    for (text, why) in cases {
        let machine = home(&text);
        let told = machine.says(2, &["ledger", "log"]);
        assert!(told.starts_with("error: ") && told.contains(why), "{told}");
        // Runs go on.
        let told = machine.says(0, &["run", "demo", "Hello", "-n", "3"]);
        assert!(told.contains("warning: not recorded: ") && told.contains(why), "{told}");
    }
    let none = Machine::new(&[]);
    let told = none.says(2, &["ledger", "log", "--ledger", "postgres"]);
    assert!(told.starts_with("error: `HWLEDGER_LEDGER_DATABASE` is not set"), "{told}");
    assert!(none.says(2, &["ledger", "migrate"]).contains("the ledger is in a file"));
    // An empty variable is none.
    assert!(home("").says(2, &["ledger", "log"]).starts_with("error: there is no ledger in `"));
}
