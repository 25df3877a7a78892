//! The netlink protocols Staunch speaks (nf_tables, conntrack, links, addresses) and network namespaces, in safe Rust.
