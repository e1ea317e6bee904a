//! Programs of others that end with the test that started them.

use std::process::{Child, Command};

/// A running program, killed when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a program, which must be installed.
    pub fn start(program: &mut Command) -> Self {
        let name = program.get_program().to_owned();
        match program.spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("{} cannot be started: {error}", name.display()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
