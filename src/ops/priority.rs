//! Which threads go first when there is not processor enough for all.

use nix::libc;

/// How much further back those threads stand that serve people: they get a tenth of what the broker's get while those want
/// everything, which is enough for a probe, and everything that is left.
const STEP_BACK: libc::c_int = 10;

/// Has the calling thread give way to the others of the process. On Linux each thread has a priority of its own.
pub(super) fn give_way() {
    // SAFETY: it takes a number and changes nothing but the priority. Less of it is never refused.
    unsafe { libc::nice(STEP_BACK) };
}
