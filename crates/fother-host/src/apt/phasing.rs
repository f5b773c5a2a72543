//! Phased updates: whether this machine is among those that get a version already. Pure.
//!
//! The draw is that of apt 2.2 and newer (`apt-pkg/upgrade.cc`): `std::seed_seq` over "source-version-machine", `std::minstd_rand`,
//! one number in 0..=100 as libstdc++ draws it.

/// Whether a version phased at `percentage` is not for this machine yet. Without a machine id nothing is kept back, as in apt.
#[must_use]
pub fn is_excluded(source: &str, source_version: &str, machine_id: &str, percentage: u8) -> bool {
    !machine_id.is_empty() && draw(&format!("{source}-{source_version}-{machine_id}")) > u32::from(percentage)
}

/// A number in 0..=100 from a seed.
fn draw(seed: &str) -> u32 {
    const MODULUS: u64 = 2_147_483_647;
    const RANGE: u64 = MODULUS - 2;
    const SCALE: u64 = RANGE / 101;
    let seeded = u64::from(seed_words(seed.as_bytes())[3]) % MODULUS;
    let mut state = if seeded == 0 { 1 } else { seeded };
    loop {
        state = state * 48_271 % MODULUS;
        let drawn = (state - 1) / SCALE;
        if drawn < 101 {
            return u32::try_from(drawn).unwrap_or(100);
        }
    }
}

/// `std::seed_seq::generate` for four words ([rand.util.seedseq] of the C++ standard).
fn seed_words(seed: &[u8]) -> [u32; 4] {
    const N: usize = 4;
    let (length, t, p) = (seed.len(), 1, 1);
    let q = p + t;
    let rounds = (length + 1).max(N);
    let mix = |x: u32| x ^ (x >> 27);
    let mut words = [0x8b8b_8b8b_u32; N];
    for k in 0..rounds {
        let here = words[k % N] ^ words[(k + p) % N] ^ words[(k + N - 1) % N];
        let first = 1_664_525_u32.wrapping_mul(mix(here));
        let k_mod = u32::try_from(k % N).unwrap_or(0);
        let add = match k {
            0 => u32::try_from(length).unwrap_or(u32::MAX),
            k if k <= length => k_mod.wrapping_add(u32::from(seed[k - 1])),
            _ => k_mod,
        };
        let second = first.wrapping_add(add);
        words[(k + p) % N] = words[(k + p) % N].wrapping_add(first);
        words[(k + q) % N] = words[(k + q) % N].wrapping_add(second);
        words[k % N] = second;
    }
    for k in rounds..rounds + N {
        let here = words[k % N].wrapping_add(words[(k + p) % N]).wrapping_add(words[(k + N - 1) % N]);
        let third = 1_566_083_941_u32.wrapping_mul(mix(here));
        let fourth = third.wrapping_sub(u32::try_from(k % N).unwrap_or(0));
        words[(k + p) % N] ^= third;
        words[(k + q) % N] ^= fourth;
        words[k % N] = fourth;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_is_that_of_libstdcxx() {
        for (seed, drawn) in [
            ("openssl-3.0.2-0ubuntu1.10-0123456789abcdef0123456789abcdef", 79),
            ("a-1-x", 53),
            ("linux-6.1-deadbeefdeadbeefdeadbeefdeadbeef", 48),
            ("curl-8.1-00000000000000000000000000000000", 57),
        ] {
            assert_eq!(draw(seed), drawn, "{seed}");
        }
    }

    #[test]
    fn the_percentage_itself_is_included() {
        assert!(!is_excluded("a", "1", "x", 53));
        assert!(is_excluded("a", "1", "x", 52));
        assert!(!is_excluded("a", "1", "", 0));
    }
}
