//! The programs at the kernel's look-ups of names. Each costs every task of the host something at each name of a path, so
//! they are attached only while somebody asks. The kernel may have no place for them: then all else goes on without, and
//! says why.

use std::time::Instant;

use anyhow::{Result, bail};
use aya::{
    Btf, Ebpf,
    programs::{Program, ProgramError},
};

use super::{capabilities::first_line, load::Verified, objects::Objects};

/// The functions that they are at, fs/namei.c and fs/dcache.c. The programs have the same names.
pub const FUNCTIONS: [&str; 3] = ["lookup_fast", "d_add", "d_splice_alias"];

/// They are loaded, or why they are not.
pub(super) struct Dentries(Result<(), String>);

/// Loads all of them: what the verifier had to do, or why there are none.
pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf) -> Result<Result<Vec<Verified>, String>> {
    let mut verified = Vec::new();
    for name in FUNCTIONS {
        let began = Instant::now();
        let loaded = match ebpf.program_mut(name) {
            Some(Program::FEntry(program)) => program.load(name, btf).map(|()| program.info()),
            Some(Program::FExit(program)) => program.load(name, btf).map(|()| program.info()),
            _ => bail!("the eBPF object has no program {name}: it was built from other sources"),
        };
        match loaded {
            Ok(info) => verified.push(Verified {
                program: name,
                took: began.elapsed(),
                instructions: info.ok().and_then(|info| info.verified_instruction_count()),
            }),
            Err(error) => return Ok(Err(refused(name, &error))),
        }
    }
    Ok(Ok(verified))
}

fn refused(name: &str, error: &ProgramError) -> String {
    format!("the kernel refused the program at {name}: {}", first_line(error))
}

impl Dentries {
    /// `unwatched` is why they are not loaded.
    pub(super) fn of(objects: &Objects, unwatched: Option<String>) -> Self {
        let loaded = FUNCTIONS.iter().all(|name| objects.has(name));
        Self(if loaded {
            Ok(())
        } else {
            Err(unwatched.unwrap_or_default())
        })
    }

    /// Attaches them, if they are not.
    ///
    /// # Errors
    /// Why they are not there.
    pub(super) fn attach(&mut self, objects: &mut Objects) -> Result<(), String> {
        self.0.clone()?;
        for name in FUNCTIONS {
            if let Err(error) = objects.attach(name, name) {
                self.detach(objects);
                self.0 = Err(format!("{error:#}"));
                break;
            }
        }
        self.0.clone()
    }

    pub(super) fn detach(&self, objects: &mut Objects) {
        for name in FUNCTIONS {
            objects.detach(name);
        }
    }

    /// Why look-ups are not watched.
    pub(super) fn absent(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }
}
