//! A node that ends with whoever started it.
//!
//! The parent holds the writing end of a pipe that is the node's standard input, and writes nothing. When the parent is
//! gone, even by SIGKILL, the kernel closes its end, and the node's read returns.

use std::io::Read;

use crate::exit::Exit;

/// Ends this process when `input` ends.
///
/// At once and not in good order: nobody is there to wait for it, and what was acknowledged is on the disk anyway.
pub fn end_with(input: impl Read + Send + 'static) {
    when_it_ends(input, || {
        crate::terminal::tell("conclave: whoever started this node is gone: ending");
        std::process::exit(Exit::Failed as i32);
    });
}

fn when_it_ends(mut input: impl Read + Send + 'static, then: impl FnOnce() + Send + 'static) {
    let wait = move || {
        let mut ignored = [0; 64];
        // Whatever is written is passed over; an error other than an interruption is an end, too.
        loop {
            match input.read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        then();
    };
    if std::thread::Builder::new().name("lifeline".to_owned()).spawn(wait).is_err() {
        tracing::warn!("cannot watch the parent process: this node will not stop with it");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_end_of_the_pipe_is_noticed_and_not_before() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (ended, end) = channel();
        when_it_ends(reader, move || ended.send(()).unwrap());
        writer.write_all(b"still here").unwrap();
        assert_eq!(end.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        drop(writer);
        end.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
