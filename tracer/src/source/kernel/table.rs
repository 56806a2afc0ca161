//! A table of the kernel side that this side has mapped (BPF_F_MMAPABLE, Linux 5.5): read and written as memory, without
//! bpf(2). While a task that the kernel has preempted is in a map by that call, programs at trace events are skipped on its
//! CPU (`bpf_disable_instrumentation`, include/linux/bpf.h), whatever they would have seen.

use std::{marker::PhantomData, mem::MaybeUninit, os::fd::AsFd, sync::atomic::Ordering};

use anyhow::{Context, Result, ensure};
use rustix::mm::ProtFlags;

use super::{Abi, objects::Objects};
use crate::source::ring::Mapping;

/// An array of values of the contract.
pub(super) struct Table<T> {
    mapping: Mapping,
    entries: u32,
    of: PhantomData<T>,
}

impl<T: Copy + 'static> Table<T>
where
    Abi<T>: aya::Pod,
{
    const SIZE: usize = size_of::<T>();
    const WORDS: usize = {
        assert!(
            Self::SIZE.is_multiple_of(8),
            "a value of the table is whole words"
        );
        Self::SIZE / 8
    };

    /// Maps the table of that name.
    ///
    /// # Errors
    /// When it is no table of such values that can be mapped.
    pub(super) fn of(objects: &Objects, name: &str) -> Result<Self> {
        let data = objects.data(name)?;
        let info = data.info().with_context(|| format!("look at map {name}"))?;
        ensure!(
            info.value_size() as usize == Self::SIZE,
            "map {name} is not what this program expects"
        );
        let entries = info.max_entries();
        let len = entries as usize * Self::SIZE;
        let mapping = Mapping::new(data.fd().as_fd(), 0, len, ProtFlags::READ | ProtFlags::WRITE)
            .with_context(|| format!("map the table {name}"))?;
        Ok(Self {
            mapping,
            entries,
            of: PhantomData,
        })
    }

    /// An entry. Each word of it is old or new while somebody writes it.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn get(&self, index: u32) -> Result<T> {
        let start = self.start(index)?;
        let mut value = MaybeUninit::<T>::uninit();
        let to = value.as_mut_ptr().cast::<u64>();
        for word in 0..Self::WORDS {
            let read = self.mapping.word(start + word * 8).load(Ordering::Acquire);
            // SAFETY: within the value, which has so many words, and need not be aligned as one.
            unsafe { to.add(word).write_unaligned(read) };
        }
        // SAFETY: all of it is written, and of a value of the contract (`Pod`) every pattern of bits is one.
        Ok(unsafe { value.assume_init() })
    }

    /// Writes an entry, first word to last; programs may see some of it old meanwhile.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn set(&self, index: u32, value: &T) -> Result<()> {
        let start = self.start(index)?;
        let from = std::ptr::from_ref(value).cast::<u64>();
        for word in 0..Self::WORDS {
            // SAFETY: within the value, which has so many words and no byte that is not given (`Pod`).
            let written = unsafe { from.add(word).read_unaligned() };
            self.mapping
                .word(start + word * 8)
                .store(written, Ordering::Release);
        }
        Ok(())
    }

    fn start(&self, index: u32) -> Result<usize> {
        ensure!(index < self.entries, "the table has no entry {index}");
        Ok(index as usize * Self::SIZE)
    }
}
