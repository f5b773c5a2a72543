//! fother-server
