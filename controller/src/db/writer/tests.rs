use std::{
    fs::File,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
};

use super::*;
use crate::db;

/// The longest that anything here is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// A disk that flushes when it is let, and as it is told.
#[derive(Debug, Default)]
struct Slow {
    flushes: AtomicU64,
    broken: AtomicBool,
    /// Each message lets one flush pass; without it all pass.
    gate: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Disk for Arc<Slow> {
    fn flush(&self, file: &File) -> io::Result<()> {
        self.flushes.fetch_add(1, SeqCst);
        if let Some(gate) = &*self.gate.lock().unwrap() {
            gate.recv_timeout(LIMIT).map_err(io::Error::other)?;
        }
        if self.broken.load(SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        file.sync_data()
    }
}

struct Rig {
    dir: tempfile::TempDir,
    pool: SqlitePool,
    writer: Writer,
    disk: Arc<Slow>,
}

impl Rig {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pool = db::open(dir.path(), true).await.unwrap();
        let disk = Arc::<Slow>::default();
        let writer = Writer::onto(&pool, Arc::clone(&disk));
        sqlx::query("CREATE TABLE counted (n INTEGER)")
            .execute(&pool)
            .await
            .unwrap();
        writer.settled().await.unwrap();
        disk.flushes.store(0, SeqCst);
        Self {
            dir,
            pool,
            writer,
            disk,
        }
    }

    /// From here on each flush waits for one message.
    fn close_gate(&self) -> mpsc::Sender<()> {
        let (open, gate) = mpsc::channel();
        *self.disk.gate.lock().unwrap() = Some(gate);
        open
    }

    /// Adds a number in the background.
    fn add(&self, n: i64) -> tokio::task::JoinHandle<Result<(), sqlx::Error>> {
        let writer = self.writer.clone();
        tokio::spawn(async move {
            let mut tx = writer.begin().await?;
            insert(&mut tx, n).await;
            writer.commit(tx, || {}).await
        })
    }

    async fn numbers(&self) -> Vec<i64> {
        numbers(&self.pool).await
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !what(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.unwrap();
    }

    fn flushes(&self) -> u64 {
        self.disk.flushes.load(SeqCst)
    }
}

async fn insert(tx: &mut Transaction<'static, Sqlite>, n: i64) {
    sqlx::query("INSERT INTO counted VALUES (?)")
        .bind(n)
        .execute(&mut **tx)
        .await
        .unwrap();
}

async fn numbers(pool: &SqlitePool) -> Vec<i64> {
    sqlx::query_scalar("SELECT n FROM counted ORDER BY n")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// What a machine finds that lost its power when the log was lost.
async fn without_log(dir: &Path) -> Vec<i64> {
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(dir.join(db::FILE_NAME), other.path().join(db::FILE_NAME)).unwrap();
    let pool = db::open(other.path(), false).await.unwrap();
    let found = numbers(&pool).await;
    pool.close().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_stand_in_line_and_all_of_them_are_kept() {
    let rig = Rig::start().await;
    sqlx::query("INSERT INTO counted VALUES (0)")
        .execute(&rig.pool)
        .await
        .unwrap();
    let changes = (0..200).map(|_| {
        let writer = rig.writer.clone();
        tokio::spawn(async move {
            let mut tx = writer.begin().await.unwrap();
            let n: i64 = sqlx::query_scalar("SELECT n FROM counted")
                .fetch_one(&mut *tx)
                .await
                .unwrap();
            sqlx::query("UPDATE counted SET n = ?")
                .bind(n + 1)
                .execute(&mut *tx)
                .await
                .unwrap();
            writer.commit(tx, || {}).await.unwrap();
        })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap();
    }
    assert_eq!(rig.numbers().await, [200]);
    assert_eq!(rig.writer.flush.open_until(), None, "each waited for a flush");
    let flushes = rig.flushes();
    rig.writer.settled().await.unwrap();
    assert_eq!(rig.flushes(), flushes, "there is nothing left to flush");
    rig.writer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flush_serves_all_that_were_committed_before_it_began() {
    let rig = Rig::start().await;
    let open = rig.close_gate();
    let first = rig.add(1);
    rig.until(|rig| rig.flushes() == 1).await;
    // The flush of the first is under way: it is not one for these, which commit all the same.
    let others = [rig.add(2), rig.add(3)];
    let all_seen = async { while rig.numbers().await.len() < 3 {} };
    tokio::time::timeout(LIMIT, all_seen).await.unwrap();
    let reader = tokio::spawn({
        let writer = rig.writer.clone();
        async move { writer.settled().await }
    });
    assert!(!first.is_finished() && !others.iter().any(|it| it.is_finished()));

    open.send(()).unwrap();
    first.await.unwrap().unwrap();
    rig.until(|rig| rig.flushes() == 2).await;
    assert!(
        !others.iter().any(|it| it.is_finished()),
        "acknowledged by a flush that began before"
    );
    assert!(!reader.is_finished(), "what was read may still be lost");

    open.send(()).unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    reader.await.unwrap().unwrap();
    assert_eq!(rig.flushes(), 2, "one flush for two changes and a reader");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_that_failed_nothing_counts_until_all_is_written_back() {
    let rig = Rig::start().await;
    rig.add(1).await.unwrap().unwrap();
    // A reader keeps the log from being emptied.
    let mut reader = rig.pool.begin().await.unwrap();
    sqlx::query("SELECT n FROM counted")
        .fetch_all(&mut *reader)
        .await
        .unwrap();
    rig.disk.broken.store(true, SeqCst);
    rig.add(2).await.unwrap().unwrap_err();
    // The system has told it once, and says from now on that all is well.
    rig.disk.broken.store(false, SeqCst);
    let flushes = rig.flushes();
    rig.add(3).await.unwrap().unwrap_err();
    rig.writer.settled().await.unwrap_err();
    assert_eq!(rig.flushes(), flushes, "no flush is believed");

    reader.rollback().await.unwrap();
    rig.add(4).await.unwrap().unwrap();
    assert_eq!(without_log(rig.dir.path()).await, [1, 2, 3, 4]);
    rig.writer.settled().await.unwrap();
    rig.add(5).await.unwrap().unwrap();
    assert!(rig.flushes() > flushes, "the new log is flushed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_failed_costs_nobody_anything_when_the_log_can_be_written_back() {
    let rig = Rig::start().await;
    rig.disk.broken.store(true, SeqCst);
    let answer = rig.add(1).await.unwrap();
    assert_eq!(
        (answer.is_ok(), without_log(rig.dir.path()).await),
        (true, vec![1])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_life_left_is_flushed_before_anybody_relies_on_it() {
    let rig = Rig::start().await;
    let disk = Arc::<Slow>::default();
    let next = Writer::onto(&rig.pool, Arc::clone(&disk));
    next.settled().await.unwrap();
    assert_eq!(disk.flushes.load(SeqCst), 1);
    next.settled().await.unwrap();
    assert_eq!(disk.flushes.load(SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_given_up_leaves_the_line_free() {
    let rig = Rig::start().await;
    // In the middle of the transaction.
    let mut tx = rig.writer.begin().await.unwrap();
    insert(&mut tx, 1).await;
    // Others give up standing in line behind it.
    let waiting = rig.add(2);
    tokio::task::yield_now().await;
    waiting.abort();
    drop(tx);
    // In the middle of a statement.
    let mut tx = rig.writer.begin().await.unwrap();
    let long = sqlx::query(
        "INSERT INTO counted WITH RECURSIVE c (n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM c WHERE n < 200000) \
         SELECT n FROM c",
    );
    let mut long = Box::pin(long.execute(&mut *tx));
    assert!(futures::poll!(&mut long).is_pending());
    drop(long);
    drop(tx);
    // While it begins.
    let mut begin = Box::pin(rig.writer.begin());
    assert!(futures::poll!(&mut begin).is_pending());
    drop(begin);
    rig.add(3).await.unwrap().unwrap();
    let found = rig.numbers().await;
    assert!(found == [3] || found == [2, 3], "{} numbers", found.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_waits_for_ends_all_the_same() {
    let rig = Rig::start().await;
    let open = rig.close_gate();
    let mut tx = rig.writer.begin().await.unwrap();
    insert(&mut tx, 1).await;
    let (told, mut hears) = tokio::sync::oneshot::channel();
    let mut commit = Box::pin(rig.writer.commit(tx, move || told.send(()).unwrap()));
    assert!(futures::poll!(&mut commit).is_pending());
    drop(commit);
    rig.until(|rig| rig.flushes() == 1).await;
    assert!(hears.try_recv().is_err(), "told before it is durable");
    open.send(()).unwrap();
    tokio::time::timeout(LIMIT, hears).await.unwrap().unwrap();
    assert_eq!(rig.writer.flush.open_until(), None);
    assert_eq!(rig.numbers().await, [1]);
}

/// As it does on a full disk.
#[tokio::test]
async fn a_change_that_sqlite_ends_by_itself_stops_nobody_else() {
    let rig = Rig::start().await;
    for _ in 0..3 {
        let mut change = rig.writer.begin().await.unwrap();
        sqlx::query("INSERT INTO counted VALUES (1)")
            .execute(&mut *change)
            .await
            .unwrap();
        sqlx::query("ROLLBACK").execute(&mut *change).await.unwrap();
        assert!(rig.writer.commit(change, || {}).await.is_err(), "it is not there");

        let mut change = rig.writer.begin().await.unwrap();
        sqlx::query("INSERT INTO counted VALUES (2)")
            .execute(&mut *change)
            .await
            .unwrap();
        rig.writer.commit(change, || {}).await.unwrap();
    }
    let kept: Vec<i64> = sqlx::query_scalar("SELECT n FROM counted")
        .fetch_all(&rig.pool)
        .await
        .unwrap();
    assert_eq!(kept, [2, 2, 2]);
}
