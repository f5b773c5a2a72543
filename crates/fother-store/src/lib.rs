//! fother-store
