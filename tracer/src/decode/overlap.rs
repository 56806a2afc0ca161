//! Inputs that a call has written over through another of its arguments. It knows no system call, only where arguments
//! lie and which of them are written.

use tracer_common::filter::copy;

use super::{
    show::{Call, Captured, Memory, Show},
    shown,
    table::{Entry, Param},
};

/// What an input holds after the call, unless the call has written there through another argument: then it is not what
/// the call got, and must not be shown as that.
pub(super) fn if_its_own<'a>(
    call: &Call<'_>,
    entry: &Entry,
    (index, memory): (usize, &Memory),
    captured: Captured<'a>,
) -> Captured<'a> {
    if memory.output || !call.succeeded {
        return captured;
    }
    let begin = call.arg(index).saturating_add(8 * u64::from(memory.skip));
    let end = begin.saturating_add(captured.bytes.len() as u64);
    let overwritten = entry.params.iter().enumerate().any(|(other, param)| {
        other != index
            && shown(&param.show, call).is_some_and(|show| {
                let Show::Memory(output) = show else {
                    return false;
                };
                let first = call.arg(other).saturating_add(8 * u64::from(output.skip));
                output.output
                    && first < end
                    && begin < first.saturating_add(written(call, other, param, output))
            })
    });
    if overwritten {
        Captured {
            bytes: &[],
            fault: true,
            ..captured
        }
    } else {
        captured
    }
}

/// How many bytes the call may have written there.
fn written(call: &Call<'_>, index: usize, param: &Param, output: &Memory) -> u64 {
    let scale = u64::from(output.scale.max(1));
    match output.kind {
        copy::LEN_RET | copy::ENTRIES => call.ret.cast_unsigned().saturating_mul(scale),
        copy::LEN_ARG => call.arg(usize::from(param.len)).saturating_mul(scale),
        _ => {
            let copied = call.memory.get(index).copied().flatten();
            copied.map_or(0, |copied| copied.bytes.len() as u64)
        }
    }
}
