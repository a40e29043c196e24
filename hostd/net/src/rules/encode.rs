//! Rules as messages of nf_tables: each term is one or a few expressions that work on the kernel's registers.

use std::ffi::CStr;
use std::net::{Ipv4Addr, SocketAddrV4};

use netlink_bindings::nftables::{
    Chained, CmpOps, MetaKeys, Nfgenmsg, ObjData, PayloadBase, PushExprListAttrs, Registers,
    Request, VerdictCode,
};
use netlink_bindings::traits::Pusher;
use netlink_socket2::{NetlinkSocket, ReplyError};

/// The one table of a namespace.
const TABLE: &CStr = c"thaw";
/// `NFPROTO_INET`: IPv4 and IPv6.
const INET: u8 = libc::NFPROTO_INET as u8;
/// `NFT_OBJECT_COUNTER`.
const COUNTER: u32 = 1;
/// `NFT_NAT_DNAT`.
const DNAT: u32 = 1;
/// `NFNL_SUBSYS_NFTABLES`, which a batch names.
const SUBSYSTEM: u16 = 10;
/// More than there are messages in a batch.
const MESSAGES: u32 = 64;

/// `NFTA_EXPR_DATA`, with the flag of a nested attribute.
const DATA: u16 = 2 | 0x8000;
/// `NFTA_LIMIT_RATE`, `_UNIT`, `_BURST`, `_FLAGS`.
const RATE: u16 = 1;
const UNIT: u16 = 2;
const BURST: u16 = 3;
const FLAGS: u16 = 5;
/// `NFT_LIMIT_F_INV`: matches what is over the limit.
const OVER: u32 = 1;

const A: u32 = Registers::Reg1 as u32;
const B: u32 = Registers::Reg2 as u32;

/// Where packets are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    pub name: &'static CStr,
    pub kind: &'static CStr,
    pub hook: u32,
    pub priority: i32,
    /// What becomes of packets that no rule decides on.
    pub accepts: bool,
}

/// A test of a packet, or what is done with one that has passed all before it. Ports are in the order of the network.
#[derive(Debug, Clone, Copy)]
pub enum Term {
    FromTap(u32),
    NotFromTap(u32),
    NotFamily(u8),
    IsFragment,
    NotSource(Ipv4Addr),
    Protocol(u8),
    NotProtocol(u8),
    DestinationPort([u8; 2]),
    NotDestinationPort([u8; 2]),
    SourcePort([u8; 2]),
    HasMark(u32),
    MoreThan(u32),
    Count(&'static CStr),
    SetMark(u32),
    DoNotTrack,
    Proxy(SocketAddrV4),
    Redirect(SocketAddrV4),
    Accept,
    Drop,
}

/// Changes that are made all at once.
pub struct Batch(Chained<'static>);

impl Batch {
    /// An empty one.
    pub fn begin(netlink: &mut NetlinkSocket) -> Self {
        let mut batch = Self(Chained::new(netlink.reserve_seq(MESSAGES)));
        batch.0.request().op_batch_begin_do(&batch_header());
        batch
    }

    /// Makes the table.
    pub fn table(&mut self) {
        let mut request = self.0.request().set_create().op_newtable_do(&header());
        request.encode().push_name(TABLE);
    }

    /// Makes a chain.
    pub fn chain(&mut self, chain: &Chain) {
        let policy = match chain.accepts {
            true => VerdictCode::Accept,
            false => VerdictCode::Drop,
        };
        let mut request = self.0.request().set_create().op_newchain_do(&header());
        request
            .encode()
            .push_table(TABLE)
            .push_name(chain.name)
            .push_type(chain.kind)
            .push_policy(policy as u32)
            .nested_hook()
            .push_num(chain.hook)
            .push_priority(chain.priority)
            .end_nested();
    }

    /// Makes a counter.
    pub fn counter(&mut self, name: &CStr) {
        let mut request = self.0.request().set_create().op_newobj_do(&header());
        request
            .encode()
            .push_table(TABLE)
            .push_name(name)
            .push_type(COUNTER)
            .nested_data_counter()
            .push_bytes(0)
            .push_packets(0)
            .end_nested();
    }

    /// Adds a rule at the end of a chain.
    pub fn rule(&mut self, chain: &Chain, terms: &[Term]) {
        let request = self.0.request().set_create().set_append();
        let mut request = request.op_newrule_do(&header());
        let rule = request.encode().push_table(TABLE).push_chain(chain.name);
        let mut expressions = rule.nested_expressions();
        for term in terms {
            expressions = encode(expressions, *term);
        }
        expressions.end_nested();
    }

    /// Makes all changes, or none.
    pub fn commit(mut self, netlink: &mut NetlinkSocket) -> Result<(), ReplyError> {
        self.0.request().op_batch_end_do(&batch_header());
        netlink.request_chained(&self.0.finalize())?.recv_all()
    }
}

/// The packets that each counter has counted.
pub(crate) fn counters(netlink: &mut NetlinkSocket) -> Result<Vec<(Vec<u8>, u64)>, ReplyError> {
    let mut request = Request::new().op_getobj_dump(&header());
    request.encode().push_table(TABLE).push_type(COUNTER);
    let mut replies = netlink.request(&request)?;
    let mut counters = Vec::new();
    while let Some(reply) = replies.recv() {
        let (_, object) = reply?;
        let (Ok(name), Ok(ObjData::Counter(counter))) = (object.get_name(), object.get_data())
        else {
            continue;
        };
        let packets = counter.get_packets().unwrap_or(0);
        counters.push((name.to_bytes().to_vec(), packets));
    }
    Ok(counters)
}

fn header() -> Nfgenmsg {
    Nfgenmsg {
        nfgen_family: INET,
        ..Default::default()
    }
}

fn batch_header() -> Nfgenmsg {
    let mut header = Nfgenmsg::new();
    header.set_res_id(SUBSYSTEM);
    header
}

fn encode<P: Pusher>(list: PushExprListAttrs<P>, term: Term) -> PushExprListAttrs<P> {
    use CmpOps::{Eq, Neq};
    use MetaKeys::{Iif, L4Proto, Mark, Nfproto};
    use PayloadBase::{NetworkHeader, TransportHeader};
    match term {
        Term::FromTap(index) => compare(meta(list, Iif), Eq, &index.to_ne_bytes()),
        Term::NotFromTap(index) => compare(meta(list, Iif), Neq, &index.to_ne_bytes()),
        Term::NotFamily(family) => compare(meta(list, Nfproto), Neq, &[family]),
        Term::IsFragment => {
            let field = payload(list, NetworkHeader, 6, 2);
            compare(masked(field, &[0x3f, 0xff]), Neq, &[0, 0])
        }
        Term::NotSource(address) => {
            compare(payload(list, NetworkHeader, 12, 4), Neq, &address.octets())
        }
        Term::Protocol(protocol) => compare(meta(list, L4Proto), Eq, &[protocol]),
        Term::NotProtocol(protocol) => compare(meta(list, L4Proto), Neq, &[protocol]),
        Term::DestinationPort(port) => compare(payload(list, TransportHeader, 2, 2), Eq, &port),
        Term::NotDestinationPort(port) => compare(payload(list, TransportHeader, 2, 2), Neq, &port),
        Term::SourcePort(port) => compare(payload(list, TransportHeader, 0, 2), Eq, &port),
        Term::HasMark(mark) => compare(meta(list, Mark), Eq, &mark.to_ne_bytes()),
        Term::MoreThan(rate) => limit(list, rate),
        Term::Count(name) => list
            .nested_elem()
            .nested_data_objref()
            .push_imm_type(COUNTER)
            .push_imm_name(name)
            .end_nested()
            .end_nested(),
        Term::SetMark(mark) => immediate(list, A, &mark.to_ne_bytes())
            .nested_elem()
            .nested_data_meta()
            .push_key(Mark as u32)
            .push_sreg(A)
            .end_nested()
            .end_nested(),
        Term::DoNotTrack => list.nested_elem().push_name(c"notrack").end_nested(),
        Term::Proxy(to) => address(list, to)
            .nested_elem()
            .nested_data_tproxy()
            .push_family(libc::NFPROTO_IPV4 as u32)
            .push_reg_addr(A)
            .push_reg_port(B)
            .end_nested()
            .end_nested(),
        Term::Redirect(to) => address(list, to)
            .nested_elem()
            .nested_data_nat()
            .push_type(DNAT)
            .push_family(libc::NFPROTO_IPV4 as u32)
            .push_reg_addr_min(A)
            .push_reg_proto_min(B)
            .end_nested()
            .end_nested(),
        Term::Accept => verdict(list, VerdictCode::Accept),
        Term::Drop => verdict(list, VerdictCode::Drop),
    }
}

fn meta<P: Pusher>(list: PushExprListAttrs<P>, key: MetaKeys) -> PushExprListAttrs<P> {
    list.nested_elem()
        .nested_data_meta()
        .push_dreg(A)
        .push_key(key as u32)
        .end_nested()
        .end_nested()
}

fn payload<P: Pusher>(
    list: PushExprListAttrs<P>,
    base: PayloadBase,
    offset: u32,
    bytes: u32,
) -> PushExprListAttrs<P> {
    list.nested_elem()
        .nested_data_payload()
        .push_dreg(A)
        .push_base(base as u32)
        .push_offset(offset)
        .push_len(bytes)
        .end_nested()
        .end_nested()
}

fn masked<P: Pusher>(list: PushExprListAttrs<P>, mask: &[u8; 2]) -> PushExprListAttrs<P> {
    list.nested_elem()
        .nested_data_bitwise()
        .push_sreg(A)
        .push_dreg(A)
        .push_len(mask.len() as u32)
        .nested_mask()
        .push_value(mask)
        .end_nested()
        .nested_xor()
        .push_value(&[0, 0])
        .end_nested()
        .end_nested()
        .end_nested()
}

fn compare<P: Pusher>(
    list: PushExprListAttrs<P>,
    how: CmpOps,
    value: &[u8],
) -> PushExprListAttrs<P> {
    list.nested_elem()
        .nested_data_cmp()
        .push_sreg(A)
        .push_op(how as u32)
        .nested_data()
        .push_value(value)
        .end_nested()
        .end_nested()
        .end_nested()
}

fn immediate<P: Pusher>(
    list: PushExprListAttrs<P>,
    register: u32,
    value: &[u8],
) -> PushExprListAttrs<P> {
    list.nested_elem()
        .nested_data_immediate()
        .push_dreg(register)
        .nested_data()
        .push_value(value)
        .end_nested()
        .end_nested()
        .end_nested()
}

/// The address into one register, the port into the next.
fn address<P: Pusher>(list: PushExprListAttrs<P>, to: SocketAddrV4) -> PushExprListAttrs<P> {
    let list = immediate(list, A, &to.ip().octets());
    immediate(list, B, &to.port().to_be_bytes())
}

fn verdict<P: Pusher>(list: PushExprListAttrs<P>, code: VerdictCode) -> PushExprListAttrs<P> {
    list.nested_elem()
        .nested_data_immediate()
        .push_dreg(Registers::RegVerdict as u32)
        .nested_data()
        .nested_verdict()
        .push_code(code as u32)
        .end_nested()
        .end_nested()
        .end_nested()
        .end_nested()
}

/// The one expression that the bindings do not know: packets of a second, as many at once, and what is over that.
fn limit<P: Pusher>(list: PushExprListAttrs<P>, rate: u32) -> PushExprListAttrs<P> {
    let mut data = Vec::new();
    attribute(&mut data, RATE, &u64::from(rate).to_be_bytes());
    attribute(&mut data, UNIT, &1_u64.to_be_bytes());
    attribute(&mut data, BURST, &rate.to_be_bytes());
    attribute(&mut data, FLAGS, &OVER.to_be_bytes());
    let mut expression = list.nested_elem().push_name(c"limit");
    let bytes = expression.as_vec_mut();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    attribute(bytes, DATA, &data);
    expression.end_nested()
}

/// A netlink attribute: length, kind, value. All values here are of whole words, so that nothing is padded.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend((value.len() as u16 + 4).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
}
