//! Simulations side by side: each has one thread, and they know nothing of one another.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Does the work of every job once, on all cores, and returns when all of it is done. Panics if one panics.
pub fn on_all_cores<T: Sync>(jobs: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let take = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(job);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(take);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{panic, sync::Mutex};

    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let jobs: Vec<usize> = (0..100).collect();
        let done = Mutex::new(Vec::new());
        on_all_cores(&jobs, |job| done.lock().unwrap().push(*job));
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, jobs);
    }

    /// A gate that is not met is found in one of the threads.
    #[test]
    fn what_fails_in_one_fails_as_a_whole() {
        let all = panic::catch_unwind(|| on_all_cores(&[1, 2, 3], |job| assert_ne!(*job, 2)));
        assert!(all.is_err());
    }
}
