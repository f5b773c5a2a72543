//! fother-lab
