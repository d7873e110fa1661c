//! A database for each test, on one server for all of them.
//!
//! Test runners start a process per test or per file. They share one server: the first that needs it starts it, each
//! holds a shared lock while it lives, and when the last lock has been free for three seconds the server stops. The
//! kernel counts, so a test that is killed is counted out too. Set [`SERVER_VARIABLE`] to use a server of your own.
//!
//! A test gets a copy of a template database that was migrated once for each state of the migrations. The copy goes
//! when its [`TestDatabase`] does; with [`KEEP_VARIABLE`] it stays, to be looked at, until a later run starts the server
//! without. The server's data is kept under the temporary folder, so that the next run starts in a moment.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::unistd::Uid;
use sha2::{Digest, Sha256};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::process::Keeper;
use super::url::with_database;
use super::{Error, Options, Server};

/// The environment variable with the URL of a server to use instead of the shared one; its role must be a superuser.
pub const SERVER_VARIABLE: &str = "TASKER_TEST_POSTGRES";

/// The environment variable that, set to `1`, keeps the databases of the tests.
pub const KEEP_VARIABLE: &str = "TASKER_TEST_KEEP";

/// The advisory lock under which templates are made: any number that nothing else in these databases uses.
const TEMPLATE_LOCK: i64 = 0x7461_736b_6572;

/// Each state of the migrations has a template; switching between a few branches should not make them anew.
const TEMPLATES_KEPT: u32 = 8;

/// The server of this process; it lives until the process ends, and so does our share of the lock.
static SERVER: OnceCell<Shared> = OnceCell::const_new();

struct Shared {
    admin: String,
    _in_use: Option<Flock<File>>,
}

/// A database that nobody else uses.
#[derive(Debug)]
pub struct TestDatabase {
    /// Its URL.
    pub url: String,
    /// Its name.
    pub name: String,
    admin: String,
}

impl TestDatabase {
    /// A database in the state to which these migrations lead from an empty one.
    pub async fn create(migrator: &Migrator) -> Result<TestDatabase, Error> {
        let admin = SERVER.get_or_try_init(shared_server).await?.admin.clone();
        let name = format!("tasker_test_{}", Uuid::now_v7().simple());
        let mut session = connect(&admin).await?;
        let template = template(&admin, &mut session, migrator).await?;
        run(&mut session, format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        session.close().await.map_err(Error::sql("close a session"))?;
        let url = with_database(&admin, &name);
        Ok(TestDatabase { url, name, admin })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if keeps() {
            eprintln!("kept the database {}", self.url);
            return;
        }
        let (admin, name) = (self.admin.clone(), self.name.clone());
        // A thread of its own, because this may run inside a runtime, which must not be blocked on.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let dropped = runtime.map(|runtime| runtime.block_on(drop_database(&admin, &name)));
            if let Ok(Err(error)) = dropped {
                eprintln!("the database {name} stays behind: {error}");
            }
        });
        let _ = dropping.join();
    }
}

fn keeps() -> bool {
    env::var_os(KEEP_VARIABLE).is_some_and(|value| value == "1")
}

async fn drop_database(admin: &str, name: &str) -> Result<(), Error> {
    let mut session = connect(admin).await?;
    run(&mut session, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
}

/// The name of the database that the migrations have been run in, made now if nobody has yet.
async fn template(admin: &str, session: &mut PgConnection, migrator: &Migrator) -> Result<String, Error> {
    let name = format!("tasker_template_{}", digest_of(migrator));
    lock_templates(session, "lock").await?;
    let made = make_template(admin, session, migrator, &name).await;
    lock_templates(session, "unlock").await?;
    made.map(|()| name)
}

async fn lock_templates(session: &mut PgConnection, verb: &str) -> Result<(), Error> {
    run(session, format!("SELECT pg_advisory_{verb}({TEMPLATE_LOCK})")).await
}

async fn make_template(admin: &str, session: &mut PgConnection, migrator: &Migrator, name: &str) -> Result<(), Error> {
    let find = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)").bind(name);
    if find.fetch_one(&mut *session).await.map_err(Error::sql("look for the test template"))? {
        return Ok(());
    }
    // It gets its name when it is whole: a run that was cut off leaves nothing that looks like a template.
    let unfinished = format!("{name}_new");
    run(session, format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")).await?;
    run(session, format!("CREATE DATABASE {unfinished}")).await?;
    let mut inside = connect(&with_database(admin, &unfinished)).await?;
    migrator.run(&mut inside).await?;
    inside.close().await.map_err(Error::sql("close a session"))?;
    run(session, format!("ALTER DATABASE {unfinished} RENAME TO {name}")).await
}

fn digest_of(migrator: &Migrator) -> String {
    let mut digest = Sha256::new();
    for migration in migrator.iter() {
        digest.update(migration.version.to_be_bytes());
        digest.update(&migration.checksum);
    }
    short_hex(&digest.finalize())
}

async fn connect(url: &str) -> Result<PgConnection, Error> {
    PgConnection::connect(url).await.map_err(Error::sql("connect to the test server"))
}

async fn run(session: &mut PgConnection, statement: String) -> Result<(), Error> {
    let failed = Error::sql(statement.clone());
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(session).await.map_err(failed)?;
    Ok(())
}

async fn shared_server() -> Result<Shared, Error> {
    if let Ok(admin) = env::var(SERVER_VARIABLE) {
        return Ok(Shared { admin, _in_use: None });
    }
    let started = tokio::task::spawn_blocking(start_or_join).await.expect("the start of the test server panicked");
    let Joined { url: admin, in_use, entering, is_first } = started?;
    if is_first && !keeps() {
        drop_leftovers(&admin).await?;
    }
    drop(entering);
    Ok(Shared { admin, _in_use: Some(in_use) })
}

/// The shared server, as one of its users has it.
struct Joined {
    url: String,
    in_use: Flock<File>,
    /// Keeps the others out until what earlier runs left is gone.
    entering: Flock<File>,
    is_first: bool,
}

fn start_or_join() -> Result<Joined, Error> {
    if !env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join("flock").is_file()) {
        let reason = format!("sharing a test server takes the command flock (util-linux); or set {SERVER_VARIABLE}");
        return Err(Error::UnfitFolder { path: env::temp_dir(), reason });
    }
    let folder = shared_folder()?;
    let users = folder.join("users");
    let entering = lock(&folder.join("entering"), FlockArg::LockExclusive)?;
    // Waits while the guard stops the server of an earlier run.
    let in_use = lock(&users, FlockArg::LockShared)?;
    let server = Server::start_for(&Options::new(folder.join("server")), &Keeper::LastUser(users))?;
    Ok(Joined { url: server.url("postgres"), in_use, entering, is_first: !server.is_joined() })
}

fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>, Error> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path).map_err(Error::io("open", path))?;
    // The guard, which runs as the account of the server, opens it too.
    file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(Error::io("change the mode of", path))?;
    Flock::lock(file, how).map_err(|(_, errno)| Error::io("lock", path)(errno.into()))
}

/// One folder a user and a checkout: branches with different binaries do not meet.
fn shared_folder() -> Result<PathBuf, Error> {
    let me = Uid::effective();
    let checkout = short_hex(&Sha256::digest(Path::new(env!("CARGO_MANIFEST_DIR")).as_os_str().as_bytes()));
    let folder = env::temp_dir().join(format!("tasker-test-{me}-{checkout}"));
    fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
    let found = fs::symlink_metadata(&folder).map_err(Error::io("look at", &folder))?;
    if !found.is_dir() || found.uid() != me.as_raw() {
        return Err(Error::UnfitFolder { path: folder, reason: "it belongs to somebody else".to_owned() });
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("change the mode of", &folder))?;
    Ok(folder)
}

/// Drops what runs that were cut off left behind, and all but the latest templates. Only for who is alone on the server.
async fn drop_leftovers(admin: &str) -> Result<(), Error> {
    let list = format!(
        "(SELECT datname::text FROM pg_database WHERE datname ~ '^tasker_(test_|template_.*_new$)')
         UNION ALL
         (SELECT datname::text FROM pg_database WHERE datname ~ '^tasker_template_[0-9a-f]*$'
          ORDER BY oid DESC OFFSET {TEMPLATES_KEPT})"
    );
    let mut session = connect(admin).await?;
    let find = sqlx::query_scalar(AssertSqlSafe(list)).fetch_all(&mut session);
    let leftovers: Vec<String> = find.await.map_err(Error::sql("list the databases of earlier runs"))?;
    for name in leftovers {
        run(&mut session, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    }
    session.close().await.map_err(Error::sql("close a session"))
}

fn short_hex(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
