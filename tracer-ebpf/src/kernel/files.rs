//! What the programs read of open files: the task's table of descriptors, dentries, mounts, inodes, sockets. Each type
//! is the address of a kernel structure of that name, and each read a probe: what cannot be read is zero.

use core::ffi::c_void;

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel};
use tracer_common::record::Socket;

use super::{
    OFF_DENTRY_HASHED, OFF_DENTRY_INODE, OFF_DENTRY_NAME, OFF_DENTRY_PARENT, OFF_FDTABLE_FD, OFF_FDTABLE_MAX,
    OFF_FILE_DENTRY, OFF_FILE_MNT, OFF_FILE_PRIVATE, OFF_FILES_FDT, OFF_FS_PWD_DENTRY, OFF_FS_PWD_MNT,
    OFF_INODE_MODE, OFF_INODE_NUMBER, OFF_INODE_PRIVATE, OFF_INODE_RDEV, OFF_INODE_SB, OFF_MOUNT_MNT,
    OFF_MOUNT_PARENT, OFF_MOUNT_POINT, OFF_MOUNT_ROOT, OFF_NETLINK_PORTID, OFF_NS_NAME, OFF_NS_OPS,
    OFF_PROTO_NAME, OFF_SB_MAGIC, OFF_SK_ADDRESS, OFF_SK_ADDRESS6, OFF_SK_FAMILY, OFF_SK_PEER,
    OFF_SK_PEER_PORT, OFF_SK_PEER6, OFF_SK_PORT, OFF_SK_PROTO, OFF_SK_PROTOCOL, OFF_SK_SOCKET, OFF_SK_STATE,
    OFF_SK_TYPE, OFF_SOCKET_INODE, OFF_SOCKET_SK, OFF_TASK_FILES, OFF_TASK_FS, OFF_UNIX_ADDR,
    OFF_UNIX_ADDR_LEN, OFF_UNIX_ADDR_NAME, OFF_UNIX_PEER, Pid, TaskPtr, load, probe,
};

macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq)]
            pub(crate) struct $name(usize);

            impl $name {
                #[inline(always)]
                fn member<T: Copy + Default>(self, offset: &Global<u32>) -> T {
                    probe((self.0 + offset.load() as usize) as *const u8)
                }
            }
        )*
    };
}

addresses! {
    /// `struct file`
    File,
    /// `struct mount`
    Mount,
    /// `struct dentry`
    Dentry,
    /// `struct inode`
    Inode,
    /// `struct sock`
    Sock,
}

/// A string's address.
#[derive(Clone, Copy)]
pub(crate) struct Name(usize);

impl TaskPtr {
    /// The file that a descriptor stands for in the task's table.
    #[inline(always)]
    pub(crate) fn file(self, fd: u32) -> Option<File> {
        let files: *const u8 = load(self.0, &OFF_TASK_FILES);
        let table: usize = probe(files.wrapping_add(OFF_FILES_FDT.load() as usize));
        let most: u32 = probe((table + OFF_FDTABLE_MAX.load() as usize) as *const u8);
        if fd >= most {
            return None;
        }
        let array: usize = probe((table + OFF_FDTABLE_FD.load() as usize) as *const u8);
        let file: usize = probe((array + fd as usize * size_of::<usize>()) as *const u8);
        (file != 0).then_some(File(file))
    }

    /// The working directory.
    #[inline(always)]
    pub(crate) fn working_directory(self) -> (Mount, Dentry) {
        let fs: *const u8 = load(self.0, &OFF_TASK_FS);
        let mnt: usize = probe(fs.wrapping_add(OFF_FS_PWD_MNT.load() as usize));
        let dentry: usize = probe(fs.wrapping_add(OFF_FS_PWD_DENTRY.load() as usize));
        (Mount::of(mnt), Dentry(dentry))
    }
}

impl File {
    #[inline(always)]
    pub(crate) fn path(self) -> (Mount, Dentry) {
        (
            Mount::of(self.member(&OFF_FILE_MNT)),
            Dentry(self.member(&OFF_FILE_DENTRY)),
        )
    }

    /// `private_data` of a socket, `->sk`.
    #[inline(always)]
    pub(crate) fn sock(self) -> Sock {
        let socket: usize = self.member(&OFF_FILE_PRIVATE);
        Sock(probe((socket + OFF_SOCKET_SK.load() as usize) as *const u8))
    }
}

impl Mount {
    /// That which holds a `struct vfsmount`.
    #[inline(always)]
    fn of(mnt: usize) -> Self {
        Self(mnt.wrapping_sub(OFF_MOUNT_MNT.load() as usize))
    }

    #[inline(always)]
    pub(crate) fn root(self) -> Dentry {
        Dentry(self.member(&OFF_MOUNT_ROOT))
    }

    /// The mount that it is on; itself where it is the topmost.
    #[inline(always)]
    pub(crate) fn parent(self) -> Self {
        Self(self.member(&OFF_MOUNT_PARENT))
    }

    /// Where on that.
    #[inline(always)]
    pub(crate) fn point(self) -> Dentry {
        Dentry(self.member(&OFF_MOUNT_POINT))
    }

    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl Dentry {
    pub(crate) const fn new(address: usize) -> Self {
        Self(address)
    }

    /// `d_really_is_negative`: it says that nothing is there.
    #[inline(always)]
    pub(crate) fn is_negative(self) -> bool {
        self.member::<usize>(&OFF_DENTRY_INODE) == 0
    }

    #[inline(always)]
    pub(crate) fn parent(self) -> Self {
        Self(self.member(&OFF_DENTRY_PARENT))
    }

    #[inline(always)]
    pub(crate) fn name(self) -> Name {
        Name(self.member(&OFF_DENTRY_NAME))
    }

    /// `d_unhashed`: no look-up finds it any more.
    #[inline(always)]
    pub(crate) fn is_unhashed(self) -> bool {
        self.member::<usize>(&OFF_DENTRY_HASHED) == 0
    }

    #[inline(always)]
    pub(crate) fn inode(self) -> Inode {
        Inode(self.member(&OFF_DENTRY_INODE))
    }

    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl Inode {
    #[inline(always)]
    pub(crate) fn mode(self) -> u16 {
        self.member(&OFF_INODE_MODE)
    }

    #[inline(always)]
    pub(crate) fn number(self) -> u64 {
        self.member(&OFF_INODE_NUMBER)
    }

    #[inline(always)]
    pub(crate) fn rdev(self) -> u32 {
        self.member(&OFF_INODE_RDEV)
    }

    /// `i_sb->s_magic`: which file system.
    #[inline(always)]
    pub(crate) fn magic(self) -> u32 {
        let block: usize = self.member(&OFF_INODE_SB);
        probe::<u64>((block + OFF_SB_MAGIC.load() as usize) as *const u8) as u32
    }

    /// The kind of a namespace: its inode's `i_private`, a `struct ns_common`, `->ops->name`.
    #[inline(always)]
    pub(crate) fn namespace_name(self) -> Name {
        let namespace: usize = self.member(&OFF_INODE_PRIVATE);
        let ops: usize = probe((namespace + OFF_NS_OPS.load() as usize) as *const u8);
        Name(probe((ops + OFF_NS_NAME.load() as usize) as *const u8))
    }

    /// `i_private` of a process's descriptor.
    #[inline(always)]
    pub(crate) fn pid(self) -> Pid {
        Pid(self.member(&OFF_INODE_PRIVATE))
    }
}

impl Name {
    #[inline(always)]
    pub(crate) const fn as_ptr(self) -> *const c_void {
        self.0 as *const c_void
    }
}

/// Address families: include/linux/socket.h.
pub(crate) const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;

impl Sock {
    /// Notes all but a Unix socket's address.
    #[inline(always)]
    pub(crate) fn describe(self, to: &mut Socket) {
        to.family = self.member(&OFF_SK_FAMILY);
        to.kind = self.member(&OFF_SK_TYPE);
        to.protocol = self.member(&OFF_SK_PROTOCOL);
        to.state = u16::from(self.member::<u8>(&OFF_SK_STATE));
        let proto: usize = self.member(&OFF_SK_PROTO);
        to.name = probe((proto + OFF_PROTO_NAME.load() as usize) as *const u8);
        if to.family == AF_INET {
            self.ports(to);
            self.copy(&OFF_SK_ADDRESS, &mut to.address, 4);
            self.copy(&OFF_SK_PEER, &mut to.peer_address, 4);
        } else if to.family == AF_INET6 && OFF_SK_ADDRESS6.load() != 0 {
            self.ports(to);
            self.copy(&OFF_SK_ADDRESS6, &mut to.address, 16);
            self.copy(&OFF_SK_PEER6, &mut to.peer_address, 16);
        } else if to.family == AF_NETLINK && OFF_NETLINK_PORTID.load() != 0 {
            to.portid = self.member(&OFF_NETLINK_PORTID);
        } else if to.family == AF_UNIX && OFF_UNIX_PEER.load() != 0 {
            let peer: usize = self.member(&OFF_UNIX_PEER);
            let socket: usize = probe((peer + OFF_SK_SOCKET.load() as usize) as *const u8);
            if peer != 0 && socket != 0 {
                // struct socket and its inode are parts of one struct socket_alloc.
                to.peer_ino = Inode(socket + OFF_SOCKET_INODE.load() as usize).number();
            }
        }
    }

    #[inline(always)]
    fn ports(self, to: &mut Socket) {
        to.port = self.member(&OFF_SK_PORT);
        to.peer_port = self.member(&OFF_SK_PEER_PORT);
    }

    #[inline(always)]
    fn copy(self, offset: &Global<u32>, to: &mut [u8; 16], len: u32) {
        let from = self.0 + offset.load() as usize;
        // SAFETY: at most sixteen bytes into sixteen; the helper checks the source.
        unsafe { bpf_probe_read_kernel(to.as_mut_ptr().cast(), len, from as *const c_void) };
    }

    /// A Unix socket's own address after its family, and how long that is.
    #[inline(always)]
    pub(crate) fn unix_address(self) -> (Name, u32) {
        if OFF_UNIX_ADDR.load() == 0 {
            return (Name(0), 0);
        }
        let address: usize = self.member(&OFF_UNIX_ADDR);
        if address == 0 {
            return (Name(0), 0);
        }
        let len: u32 = probe((address + OFF_UNIX_ADDR_LEN.load() as usize) as *const u8);
        let name = address + OFF_UNIX_ADDR_NAME.load() as usize + size_of::<u16>();
        (Name(name), len.wrapping_sub(size_of::<u16>() as u32))
    }
}
