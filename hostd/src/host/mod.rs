//! The machine that hostd runs on: what it is, and whether it is fit.

pub mod cgroup;
pub mod cpu;
pub mod doctor;
pub mod dumps;
pub mod facts;
pub mod file_system;
pub mod limits;
pub mod memory;
