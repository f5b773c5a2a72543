//! Asynchronous clients behind a synchronous face: a small runtime of their own. Safe to call from any thread, tokio's own included.

use crate::Error;
use std::{future::Future, io, sync::mpsc};
use tokio::runtime::{Builder, Runtime};

/// Threads that drive connections; they only move bytes.
const THREADS: usize = 2;

/// A runtime that nobody waits inside of.
#[derive(Debug)]
pub(crate) struct Runner {
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl Runner {
    pub(crate) fn start() -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("fother-store").enable_all().build();
        let runtime = runtime.map_err(Error::io("start", "the store's runtime".as_ref()))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Waits for `work`. The caller's thread waits on a channel, never inside of a runtime: that would panic on a thread of another one.
    pub(crate) fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Error> {
        let gone = || Error::io("use", "the store's runtime".as_ref())(io::ErrorKind::Interrupted.into());
        let (send, receive) = mpsc::sync_channel(1);
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        runtime.spawn(async move { send.send(work.await) });
        receive.recv().map_err(|_| gone())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which panics on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_be_called_and_dropped_on_a_thread_of_another_runtime() {
        let other = Builder::new_current_thread().enable_all().build().unwrap();
        other.block_on(async {
            let runner = Runner::start().unwrap();
            assert_eq!(
                runner
                    .wait(async {
                        tokio::task::yield_now().await;
                        7
                    })
                    .unwrap(),
                7
            );
            drop(runner);
        });
    }

    #[test]
    fn work_that_panics_is_an_error_of_the_caller() {
        let runner = Runner::start().unwrap();
        assert!(runner.wait(async { assert!(std::env::args().count() == 0, "on purpose") }).is_err());
        assert_eq!(runner.wait(async { 1 }).unwrap(), 1);
    }
}
