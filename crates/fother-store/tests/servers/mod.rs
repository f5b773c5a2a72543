//! Real servers for tests: PostgreSQL 15 from Debian in a cluster of its own, and an S3 server in a process of its own. Each ends with the
//! test, however that ends. Touches temporary directories, loopback ports, its own processes.

#![allow(dead_code, unused_imports)]

pub mod postgres;
pub mod s3;

pub use postgres::{Cluster, PASSWORD};
pub use s3::{S3, S3_KEYS, serve_s3};
