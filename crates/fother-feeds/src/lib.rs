//! fother-feeds
