//! A pool of threads that claim chunks of one job at a time.
//!
//! A job ends when its chunks have ended, not when every thread has looked at it:
//! a thread that the system has put aside holds up at most the chunk that it holds.
//! Waiting threads spin briefly, then sleep.

#![expect(unsafe_code, reason = "threads that outlive a call run a closure that borrows from it")]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread without work spins before it sleeps.
const SPIN: Duration = Duration::from_micros(40);
/// Bits of the claim word that hold the next chunk and the number of chunks.
const CHUNK_BITS: u32 = 20;
/// Most chunks of one job.
const CHUNKS_MAX: usize = (1 << CHUNK_BITS) - 1;

/// One job: what to do with a chunk, and how it went.
struct Job<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    done: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct Shared {
    /// Job number, number of chunks, next chunk. One word, so that a claim is of one job.
    claim: AtomicU64,
    /// The current job. Read only by whoever holds a chunk of it.
    job: AtomicPtr<()>,
    /// The thread that waits for the job to end.
    caller: Mutex<Option<Thread>>,
    caller_sleeps: AtomicBool,
    ends: AtomicBool,
}

struct Worker {
    handle: JoinHandle<()>,
    sleeps: Arc<AtomicBool>,
}

/// The threads. The caller's thread works too.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    turn: Mutex<()>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn next_of(claim: u64) -> usize {
    (claim & CHUNKS_MAX as u64) as usize
}

const fn chunks_of(claim: u64) -> usize {
    (claim >> CHUNK_BITS & CHUNKS_MAX as u64) as usize
}

impl Shared {
    /// Claims the next chunk of whatever job there is.
    fn claim(&self) -> Option<usize> {
        let mut claim = self.claim.load(Ordering::Acquire);
        while next_of(claim) < chunks_of(claim) {
            match self.claim.compare_exchange_weak(claim, claim + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(next_of(claim)),
                Err(now) => claim = now,
            }
        }
        None
    }

    /// Does chunks until none is left; whether there was any.
    fn work(&self) -> bool {
        let mut worked = false;
        while let Some(chunk) = self.claim() {
            worked = true;
            let job = self.job.load(Ordering::Acquire).cast::<Job<'_>>();
            // SAFETY: `run` keeps the job alive until all its chunks are done, and the one
            // just claimed is not. The claim was of this job: both are set before it shows.
            let job = unsafe { &*job };
            let chunks = chunks_of(self.claim.load(Ordering::Relaxed));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.work)(chunk))) {
                lock(&job.panic).get_or_insert(panic);
            }
            // After the last chunk is counted the job may be gone: nothing of it is touched below.
            let is_last = job.done.fetch_add(1, Ordering::AcqRel) + 1 == chunks;
            if is_last
                && self.caller_sleeps.load(Ordering::SeqCst)
                && let Some(caller) = lock(&self.caller).as_ref()
            {
                caller.unpark();
            }
        }
        worked
    }
}

fn serve(shared: &Shared, sleeps: &AtomicBool) {
    while !shared.ends.load(Ordering::Acquire) {
        if shared.work() {
            continue;
        }
        let start = Instant::now();
        while start.elapsed() < SPIN && !has_work(shared) {
            for _ in 0..16 {
                std::hint::spin_loop();
            }
        }
        if has_work(shared) {
            continue;
        }
        sleeps.store(true, Ordering::SeqCst);
        // Looked at again after the flag is up: a job set before saw no flag, one set after wakes us.
        if !has_work(shared) && !shared.ends.load(Ordering::SeqCst) {
            std::thread::park();
        }
        sleeps.store(false, Ordering::SeqCst);
    }
}

fn has_work(shared: &Shared) -> bool {
    let claim = shared.claim.load(Ordering::SeqCst);
    next_of(claim) < chunks_of(claim)
}

impl Pool {
    /// A pool of `threads` threads in all, the caller's among them.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            claim: AtomicU64::new(0),
            job: AtomicPtr::new(std::ptr::null_mut()),
            caller: Mutex::new(None),
            caller_sleeps: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        });
        let mut pool = Self { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for index in 1..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let sleeps = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&sleeps);
            let handle =
                std::thread::Builder::new().name(format!("kernel-{index}")).spawn(move || serve(&shared, &flag))?;
            pool.workers.push(Worker { handle, sleeps });
        }
        Ok(pool)
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once for each of `chunks` chunks, on any thread and in any order, and returns when all are done.
    ///
    /// # Panics
    ///
    /// If `work` panicked, with what it panicked with; and with more than a million chunks.
    pub fn run(&self, chunks: usize, work: &(dyn Fn(usize) + Sync)) {
        assert!(chunks <= CHUNKS_MAX, "a job has at most {CHUNKS_MAX} chunks");
        if chunks <= 1 || self.workers.is_empty() {
            (0..chunks).for_each(work);
            return;
        }
        let _turn = lock(&self.turn);
        let job = Job { work, done: AtomicUsize::new(0), panic: Mutex::new(None) };
        let shared = &*self.shared;
        *lock(&shared.caller) = Some(std::thread::current());
        shared.job.store((&raw const job).cast_mut().cast(), Ordering::Release);
        let number = (shared.claim.load(Ordering::Relaxed) >> (2 * CHUNK_BITS)).wrapping_add(1);
        let claim = number << (2 * CHUNK_BITS) | (chunks as u64) << CHUNK_BITS;
        shared.claim.store(claim, Ordering::SeqCst);
        for worker in self.workers.iter().take(chunks - 1) {
            if worker.sleeps.load(Ordering::SeqCst) {
                worker.handle.thread().unpark();
            }
        }
        shared.work();
        self.wait(&job, chunks);
        let panic = lock(&job.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Calls `work` once for each stretch of `length` elements of `data` (the last may be shorter), with its number.
    ///
    /// # Panics
    ///
    /// As [`Pool::run`], and if `length` is zero.
    pub fn run_on_chunks<T: Send>(&self, data: &mut [T], length: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
        assert!(length > 0, "a chunk has at least one element");
        let total = data.len();
        let start = SharedMut(data.as_mut_ptr());
        let start = &start;
        self.run(total.div_ceil(length), &|chunk| {
            let first = chunk * length;
            // SAFETY: chunks do not overlap, each is claimed once, and `data` is borrowed until all are done.
            let part = unsafe { std::slice::from_raw_parts_mut(start.0.add(first), length.min(total - first)) };
            work(chunk, part);
        });
    }

    fn wait(&self, job: &Job<'_>, chunks: usize) {
        let is_done = || job.done.load(Ordering::Acquire) == chunks;
        let start = Instant::now();
        while !is_done() && start.elapsed() < SPIN {
            for _ in 0..16 {
                std::hint::spin_loop();
            }
        }
        if is_done() {
            return;
        }
        self.shared.caller_sleeps.store(true, Ordering::SeqCst);
        while job.done.load(Ordering::SeqCst) != chunks {
            // The last worker may look at the flag before it is up: sleep in short naps.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.shared.caller_sleeps.store(false, Ordering::SeqCst);
    }
}

/// The start of a slice of which threads write parts that do not overlap.
struct SharedMut<T>(*mut T);

// SAFETY: it only carries the address; `run_on_chunks` hands out each part once.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.handle.thread().unpark();
            // A worker catches the panics of its chunks, so joining it cannot fail.
            worker.handle.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_done_once() {
        let pool = Pool::new(4).unwrap();
        for chunks in [0, 1, 2, 3, 17, 1000] {
            let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..50 {
                pool.run(chunks, &|chunk| {
                    counts[chunk].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 50));
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_whole() {
        let pool = Pool::new(3).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| pool.run(10, &|chunk| assert!(chunk != 7, "seven"))));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, &|chunk| {
            sum.fetch_add(chunk, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 45);
    }
}
