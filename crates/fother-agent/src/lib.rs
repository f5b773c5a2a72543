//! fother-agent
