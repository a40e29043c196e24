//! The network side of a sandbox on the host: a namespace of its own with one tap, no route out, and the
//! sockets through which everything that the guest sends reaches the egress proxy, or is dropped.
