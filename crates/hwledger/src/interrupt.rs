//! Ctrl-C for commands that have something to finish.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The status of a program that Ctrl-C ended: 128 and the signal's number.
const STATUS: i32 = 130;

/// Becomes true when the person or the system asks the program to end; the second time it ends at once.
pub(crate) fn flag() -> io::Result<Arc<AtomicBool>> {
    let is_ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: what is already true ends the program, then it becomes true.
        flag::register_conditional_shutdown(signal, STATUS, Arc::clone(&is_ended))?;
        flag::register(signal, Arc::clone(&is_ended))?;
    }
    Ok(is_ended)
}
