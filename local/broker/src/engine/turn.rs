//! One partition's turn: read some batches, have them transformed, write what came out.

use std::time::{Instant, SystemTime};

use tickpanda_host::HostError;
use tickpanda_host::processor::chance;

use super::input::{Input, InputError};
use super::output::OutputError;
use super::worker::{Worker, least};
use crate::storage::{ReadError, millis};

/// Why a partition's turn failed.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("cannot write the output: {0}")]
    Output(#[from] OutputError),
}

impl Worker {
    /// Reads from `from` on; whether there was anything.
    pub(super) fn turn(&mut self, index: usize, from: i64) -> bool {
        let input = match Input::read(&self.input.partitions[index], from) {
            Ok(input) => Ok(input),
            Err(ReadError::OutOfRange { offset, start, end }) => {
                self.skip(index, offset, if offset < start { start } else { end });
                return true;
            }
            Err(error) => Err(TurnError::Input(error.into())),
        };
        let mut next = from;
        let mut done = input.and_then(|input| self.transform(index, input, &mut next));
        // What came out of the batches before one that failed is theirs, and stays.
        for output in 0..self.writers.len() {
            match self.writers.flush(output, index, now_ms()) {
                Ok(()) if next > from => {
                    self.processors[index].written(output, next);
                    self.commits.request(index, output, next, Instant::now());
                }
                Ok(()) => {}
                // The first thing that went wrong explains the others.
                Err(error) => done = done.and(Err(error.into())),
            }
        }
        match done {
            Ok(()) if next > from => true,
            Ok(()) => {
                self.processors[index].idle(Instant::now(), chance());
                false
            }
            Err(error) => {
                self.fail(index, &error);
                true
            }
        }
    }

    /// Moves `next` behind each batch that is done.
    fn transform(
        &mut self,
        index: usize,
        mut input: Input,
        next: &mut i64,
    ) -> Result<(), TurnError> {
        while !self.shared.is_stopped() {
            let Some((batch, behind)) = input.next()? else { break };
            self.guest.transform(&batch, &mut self.outputs)?;
            let processor = &self.processors[index];
            let wants = |output| processor.wants(output, behind);
            self.writers.take(&self.outputs, wants, index, now_ms())?;
            *next = behind;
        }
        Ok(())
    }

    /// Part of every start attempt, whether there is input or not.
    pub(super) fn start_guest(&mut self, index: usize) {
        match self.guest.start() {
            Ok(()) => self.processors[index].started(Instant::now()),
            Err(error) => self.fail(index, &error.into()),
        }
    }

    /// The log no longer begins, or ends, where this partition was.
    fn skip(&mut self, index: usize, from: i64, to: i64) {
        tracing::warn!(
            transform = self.guest.name(),
            partition = index,
            from,
            to,
            "the input no longer has the next offset: going on where it can be read"
        );
        self.processors[index].skipped(to);
        self.commits.skipped(index, to, Instant::now());
    }

    fn fail(&mut self, index: usize, error: &TurnError) {
        // What the guest said before it ended explains why.
        self.shared.logs.flush();
        let retry_in = self.processors[index].failed(Instant::now());
        self.shared.views()[index].error = error.to_string();
        let offset = least(self.commits.done(index));
        tracing::warn!(
            transform = self.guest.name(), partition = index, offset, ?retry_in, %error,
            "error running transform"
        );
    }
}

fn now_ms() -> i64 {
    millis(SystemTime::now())
}
