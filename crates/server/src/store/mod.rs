//! What outlives the server: the State, one row per resource and per operation.
//!
//! ```text
//!   resources   (kind, key) ─▶ JSON      networks, projects/p/global/networks/n ─▶ {…}
//!   operations  number      ─▶ JSON
//!   meta        format      ─▶ 1
//! ```
//!
//! A commit writes the rows that changed in one transaction and returns when they are on the disk: whoever is answered
//! after it can rely on it, whatever kills the server. The file is redb's, which is never half-written and has one
//! owner at a time.

use redb::{Database, DatabaseError, ReadableTable, TableDefinition};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tombolo_api::{Operation, Operations, State};
use tombolo_model::{Row, World};

const RESOURCES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("resources");
const OPERATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("operations");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The key of the format's number in `meta`.
const FORMAT: &str = "format";
/// The format that this program reads and writes.
const PRESENT_FORMAT: u64 = 1;

/// Why a State could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody has it open.
    #[error("{}: another tombolo has it open", .0.display())]
    Taken(PathBuf),
    /// It is of another version of this program.
    #[error("{} has format {found}, and this tombolo knows {PRESENT_FORMAT}: use the tombolo that made it, or another --state", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The database failed: the disk is full, or the file is broken.
    #[error("{}: {error}", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: Box<redb::Error>,
    },
    /// A row is not what a row should be.
    #[error("{}: {error}", .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The folder or the file could not be made.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// A State on the disk.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// `None` once it has failed.
    database: Mutex<Option<Database>>,
}

impl Store {
    /// Opens the store in a folder, or makes both; only their owner can enter.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::Io { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        let path = folder.join("state.redb");
        if !path.try_exists().map_err(at(&path))? {
            // Whole or not at all: one that was only begun could never be opened again.
            let beside = folder.join(format!("state.redb.new-{}", std::process::id()));
            let _ = std::fs::remove_file(&beside);
            drop(Store::open_file(&beside)?);
            let named = match std::fs::hard_link(&beside, &path) {
                // Another process was faster: its file is the one.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                // Not every file system has links.
                Err(_) => std::fs::rename(&beside, &path),
                Ok(()) => Ok(()),
            };
            let _ = std::fs::remove_file(&beside);
            named.map_err(at(&path))?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))?;
        }
        Store::open_file(&path)
    }

    fn open_file(path: &Path) -> Result<Store, StoreError> {
        let store = Store { path: path.to_owned(), database: Mutex::new(None) };
        match store.with(format)? {
            PRESENT_FORMAT => Ok(store),
            found => Err(StoreError::Format { path: store.path, found }),
        }
    }

    /// Does something with the database, which is opened if it is not open. One that has failed is closed: it would fail for
    /// ever, although there may be room on the disk again.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut place = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match place.take() {
            Some(database) => database,
            None => self.database()?,
        };
        let done = work(&database).map_err(|error| self.database_error(error))?;
        *place = Some(database);
        Ok(done)
    }

    fn database(&self) -> Result<Database, StoreError> {
        let path = || self.path.clone();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        let file = file.map_err(|error| StoreError::Io { path: path(), error })?;
        Database::builder().create_file(file).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Taken(path()),
            error => StoreError::Database { path: path(), error: Box::new(error.into()) },
        })
    }

    /// What was committed last.
    pub fn load(&self) -> Result<State, StoreError> {
        let (rows, operations) = self.with(read)?;
        let row = |(kind, key, json): (String, String, Vec<u8>)| {
            Ok(Row { kind, key, value: Some(serde_json::from_slice(&json)?) })
        };
        let rows: Result<Vec<Row>, _> = rows.into_iter().map(row).collect();
        let rows = rows.map_err(|error| self.row_error(error))?;
        let world = World::from_rows(rows).map_err(|error| self.row_error(error))?;
        let mut state = State { world, operations: Operations::default() };
        for json in operations {
            let operation: Operation =
                serde_json::from_slice(&json).map_err(|error| self.row_error(error))?;
            state.operations.put(operation);
        }
        Ok(state)
    }

    /// Writes what has changed since `before`, which is what the store has; returns when it is on the disk.
    pub fn commit(&self, before: &State, after: &State) -> Result<(), StoreError> {
        // What a database was left with that has failed is for itself to say.
        let left = if self.is_open() { None } else { Some(self.load()?) };
        let before = left.as_ref().unwrap_or(before);
        let rows = after.world.changed(&before.world).map_err(|error| self.row_error(error))?;
        let mut resources = Vec::with_capacity(rows.len());
        for Row { kind, key, value } in rows {
            let json = value.map(|value| serde_json::to_vec(&value)).transpose();
            resources.push((kind, key, json.map_err(|error| self.row_error(error))?));
        }
        let mut operations = Vec::new();
        for (number, operation) in after.operations.changed(&before.operations) {
            let json = operation.map(serde_json::to_vec).transpose();
            operations.push((number, json.map_err(|error| self.row_error(error))?));
        }
        if resources.is_empty() && operations.is_empty() {
            return Ok(());
        }
        self.with(|database| write(database, &resources, &operations))
    }

    fn is_open(&self) -> bool {
        self.database.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn database_error(&self, error: redb::Error) -> StoreError {
        StoreError::Database { path: self.path.clone(), error: Box::new(error) }
    }

    fn row_error(&self, error: serde_json::Error) -> StoreError {
        StoreError::Row { path: self.path.clone(), error }
    }
}

/// The file's format; a new file gets the present one.
fn format(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let format = {
        let mut meta = transaction.open_table(META)?;
        let known = meta.get(FORMAT)?.map(|format| format.value());
        if known.is_none() {
            meta.insert(FORMAT, PRESENT_FORMAT)?;
        }
        transaction.open_table(RESOURCES)?;
        transaction.open_table(OPERATIONS)?;
        known.unwrap_or(PRESENT_FORMAT)
    };
    transaction.commit()?;
    Ok(format)
}

#[allow(clippy::type_complexity, reason = "rows as they are, for `load` alone")]
fn read(database: &Database) -> Result<(Vec<(String, String, Vec<u8>)>, Vec<Vec<u8>>), redb::Error> {
    use redb::ReadableDatabase;
    let transaction = database.begin_read()?;
    let mut rows = Vec::new();
    for row in transaction.open_table(RESOURCES)?.iter()? {
        let (key, value) = row?;
        let (kind, key) = key.value();
        rows.push((kind.to_owned(), key.to_owned(), value.value().to_vec()));
    }
    let mut operations = Vec::new();
    for row in transaction.open_table(OPERATIONS)?.iter()? {
        operations.push(row?.1.value().to_vec());
    }
    Ok((rows, operations))
}

fn write(
    database: &Database,
    resources: &[(String, String, Option<Vec<u8>>)],
    operations: &[(u64, Option<Vec<u8>>)],
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(RESOURCES)?;
        for (kind, key, json) in resources {
            let key = (kind.as_str(), key.as_str());
            match json {
                Some(json) => drop(table.insert(key, json.as_slice())?),
                None => drop(table.remove(key)?),
            }
        }
        let mut table = transaction.open_table(OPERATIONS)?;
        for (number, json) in operations {
            match json {
                Some(json) => drop(table.insert(number, json.as_slice())?),
                None => drop(table.remove(number)?),
            }
        }
    }
    // Durable as redb has it by default: on the disk when this returns.
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tombolo_api::{Outcome, Request, Verb, answer};
    use tombolo_model::{Change, Timestamp};

    /// The State after a request, as the server makes it.
    fn after(state: &State, verb: Verb, target: &str, body: Value) -> State {
        let now = Timestamp(1_600_000_000_000);
        let request = Request::new("localhost", verb, target, body);
        let Ok(Outcome::Commit(commit)) = answer(state, &request, now) else { panic!("{target}: no commit") };
        let (world, operation) = commit.begin(state, now).expect("no refusal");
        let mut next = State { operations: state.operations.clone(), world };
        next.operations.put(commit.done(operation, &next.world, now));
        next
    }

    #[test]
    fn what_was_committed_is_loaded() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut states = vec![State::default()];
        let enable =
            Change::ServiceEnable { project: "project-1".into(), service: "compute.googleapis.com".into() };
        let mut first = State::default();
        for change in [Change::ProjectCreate("project-1".into()), enable] {
            first.world = first.world.apply(&change, Timestamp(1)).expect("a good change");
        }
        states.push(first.clone());
        let networks = "/compute/v1/projects/project-1/global/networks";
        let custom = json!({ "name": "n-1", "autoCreateSubnetworks": false });
        states.push(after(&first, Verb::Post, networks, custom));
        states.push(after(&states[2], Verb::Delete, &format!("{networks}/n-1"), Value::Null));
        for pair in states.windows(2) {
            let store = Store::open(folder.path()).expect("a store");
            assert_eq!(store.load().expect("a State"), pair[0]);
            assert!(matches!(Store::open(folder.path()), Err(StoreError::Taken(_))));
            store.commit(&pair[0], &pair[1]).expect("a commit");
        }
        let store = Store::open(folder.path()).expect("a store");
        assert_eq!(store.load().expect("a State"), states[3]);
    }

    #[test]
    fn a_database_that_has_failed_is_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut first, mut second) = (State::default(), State::default());
        let create = |project: &str| Change::ProjectCreate(project.into());
        first.world = first.world.apply(&create("project-1"), Timestamp(1)).expect("a good change");
        second.world = second.world.apply(&create("project-2"), Timestamp(1)).expect("a good change");
        let store = Store::open(folder.path()).expect("a store");
        // It is on the disk, and yet whoever asked was told that it is not.
        store.commit(&State::default(), &first).expect("a commit");
        let failure = store.with(|_| Err::<(), _>(redb::Error::PreviousIo));
        assert!(failure.is_err() && !store.is_open());
        store.commit(&State::default(), &second).expect("a commit");
        assert_eq!(store.load().expect("a State"), second);
    }

    #[test]
    fn a_store_that_was_only_begun_is_in_nobodys_way() {
        let folder = tempfile::tempdir().expect("a folder");
        // As redb leaves it when its process is killed at the wrong moment.
        let begun = folder.path().join(format!("state.redb.new-{}", std::process::id()));
        std::fs::write(&begun, vec![0; 1 << 20]).expect("a file");
        Store::open(folder.path()).expect("a store").load().expect("a State");
        let files = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 1);
    }

    #[test]
    fn another_format_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let other = |database: &Database| {
            let transaction = database.begin_write()?;
            transaction.open_table(META)?.insert(FORMAT, 2)?;
            Ok(transaction.commit()?)
        };
        store.with(other).expect("a commit");
        drop(store);
        let error = Store::open(folder.path()).expect_err("another format").to_string();
        assert!(
            error.ends_with(
                "has format 2, and this tombolo knows 1: use the tombolo that made it, or another --state"
            ),
            "{error}"
        );
    }
}
