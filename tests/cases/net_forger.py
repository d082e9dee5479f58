#!/usr/bin/env python3
"""A host on the segment that forges Network Unlock replies (DHCPv4; 6 for DHCPv6). usage: net_forger.py IFACE MODE [N]"""
import socket, struct, sys, os, time
IF,MODE=sys.argv[1],sys.argv[2]; N=int(sys.argv[3]) if len(sys.argv)>3 else 64
s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3)); s.bind((IF,0))
mac=s.getsockname()[4]
def ck(b):
    if len(b)%2: b+=b'\0'
    t=sum(struct.unpack('>%dH'%(len(b)//2),b)); t=(t&0xffff)+(t>>16); t=(t&0xffff)+(t>>16); return ~t&0xffff
def v4(pay,src='10.77.0.1',dst='255.255.255.255',sp=67,dp=68,dmac=b'\xff'*6,smac=None,proto=17,udplen=None,frag=0):
    u=struct.pack('>HHHH',sp,dp,udplen if udplen is not None else 8+len(pay),0)+pay
    if proto!=17: u=pay
    ip=struct.pack('>BBHHHBBH4s4s',0x45,0,20+len(u),0,frag,64,proto,0,socket.inet_aton(src),socket.inet_aton(dst))
    ip=ip[:10]+struct.pack('>H',ck(ip))+ip[12:]
    return dmac+(smac or mac)+b'\x08\0'+ip+u
def o(c,b): return bytes([c,len(b)])+b
def reply(req,opts,op=2,xid=None):
    x=req[4:8] if xid is None else xid
    return (bytes([op])+req[1:4]+x+req[8:236]+b'\x63\x82\x53\x63'+opts+b'\xff').ljust(300,b'\0')
good=lambda k:o(60,b'BITLOCKER')+o(43,o(2,k))
seen=[0]
print('ready',flush=True)
first=None
if MODE=='rain':           # N junk packets a burst, all the time
    junk=[v4(os.urandom(300),src='10.77.0.%d'%(i%200+1)) for i in range(64)]+[v4(os.urandom(2000)[:1400])]
    t=time.time(); n=0
    while time.time()-t<N:
        for j in junk: s.send(j); n+=1
    print('sent',n); sys.exit()
while True:
    f=s.recv(65536)
    if f[12:14]==b'\x86\xdd' and f[20]==17 and struct.unpack('>H',f[56:58])[0]==547 and MODE.startswith('6'):
        p=f[62:]; seen[0]+=1
        cl6=f[22:38]; cm=f[6:12]
        def l(c,b): return struct.pack('>HH',c,len(b))+b
        e=struct.pack('>I',311)
        pay=lambda: b'\x07'+p[1:4]+l(1,p[8:8+struct.unpack('>H',p[6:8])[0]])+l(2,b'\0\3\0\1'+mac)+l(16,e+l(9,b'')[:0]+struct.pack('>H',9)+b'BITLOCKER')+l(17,e+l(2,os.urandom(60)))
        if MODE=='6garbage':
            src=socket.inet_pton(socket.AF_INET6,'fe80::dead')
            out=[]
            for _ in range(4):   # few that differ, so that the first is there before the honest reply
                u=struct.pack('>HHHH',547,546,8+len(pay()),0)+pay()
                ps=src+cl6+struct.pack('>II',len(u),17); c=ck(ps+u) or 0xffff
                u=u[:6]+struct.pack('>H',c)+u[8:]
                out.append(cm+mac+b'\x86\xdd'+b'\x60\0\0\0'+struct.pack('>HBB',len(u),17,64)+src+cl6+u)
            for i in range(N): s.send(out[i%4])
            print('forged6',N,flush=True)
        continue
    if f[12:14]!=b'\x08\0' or f[23]!=17: continue
    ihl=(f[14]&15)*4; d=struct.unpack('>H',f[14+ihl+2:14+ihl+4])[0]
    if d!=67: continue
    q=f[14+ihl+8:]; cip=socket.inet_ntoa(f[26:30]); cm=f[6:12]; seen[0]+=1
    m=MODE
    if m=='garbage':
        out=[v4(reply(q,good(os.urandom(60))),src='10.77.0.1') for _ in range(4)]
        for i in range(N): s.send(out[i%4])
    elif m=='garbageuni':
        for _ in range(N): s.send(v4(reply(q,good(os.urandom(60))),dst=cip,dmac=cm))
    elif m=='other':
        for i in range(N): s.send(v4(reply(q,good(os.urandom(60)),xid=os.urandom(4)),src='10.77.%d.%d'%(i>>8&255,i&255)))
    elif m=='wrongport':
        for sp,dp in((1,68),(67,69),(68,68),(0,68)): s.send(v4(reply(q,good(os.urandom(60))),sp=sp,dp=dp))
    elif m=='malformed':
        K=os.urandom(60)
        L=[o(60,b'BITLOCKER')+bytes([43,255])+b'x'*10, o(60,b'BITLOCKER')+o(43,b''),o(60,b'BITLOCKER')+o(43,b'\2'),o(60,b'BITLOCKER')+o(43,b'\2\xff'+K),
           o(60,b'BITLOCKER')+o(43,b'\2\0'),o(60,b'BITLOCKER')+o(43,o(2,K+b'x')),o(60,b'BITLOCKER')+o(43,o(2,K[:-1])),o(60,b'BITLOCKER')+o(43,o(2,K)+o(2,K)),
           o(60,b'BITLOCKER')*3+o(43,o(43,o(43,o(2,K)))),o(60,b'BITLOCKER\0')+o(43,o(2,K)),o(60,b'')+o(43,o(2,K)),o(60,b'BITLOCKER')+b''.join(o(43,o(2,K)[i:i+1]) for i in range(62)),
           b'\0'*60, o(52,b'\3')+good(K), o(53,b'\5')+good(K), o(125,b'\0\0\1\x37\xff'+K)+good(K), o(60,b'BITLOCKER')+bytes([43]), o(82,b'x'*255)+good(K)]
        for op in L:
            for b in (reply(q,op), reply(q,op)[:300], reply(q,op,op=1), reply(q,op)[:240], reply(q,op)[:237], b'', b'\2', reply(q,op)+b'\0'*1000): s.send(v4(b))
        s.send(v4(reply(q,good(K)),udplen=0)); s.send(v4(reply(q,good(K)),udplen=65535)); s.send(v4(reply(q,good(K)),udplen=7)); s.send(v4(reply(q,good(K)),frag=0x2000))
        s.send(cm+mac+b'\x08\0'); s.send(cm+mac+b'\x08\0'+b'\x4f'); s.send(cm+mac+b'\x08\0'+b'\x41'+bytes(40))
    elif m=='jumbo':
        for n in (2047,2048,2049,9000,60000):
            try:
                u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); u.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); u.bind(('10.77.0.3',0)); u.sendto(reply(q,good(os.urandom(60)))[:n].ljust(n,b'\0'),(cip,68))
            except OSError as e: print('jumbo',n,e)
    elif m=='icmp':
        inner=f[14:14+ihl+8]
        for code in (0,1,3,13): 
            ic=bytes([3,code,0,0,0,0,0,0])+inner; ic=ic[:2]+struct.pack('>H',ck(ic))+ic[4:]; s.send(v4(ic,dst=cip,dmac=cm,proto=1))
    elif m=='bounce':
        s.send(v4(q,sp=67,dp=68)); s.send(v4(b'\2'+q[1:],sp=67,dp=68))
    elif m=='late':      # an honest answer, held back: the forger plays the wire (N ms)
        pass
    elif m=='wait':
        time.sleep(N/1000); [s.send(v4(reply(q,good(os.urandom(60))))) for _ in range(5)]
    print(m,'request',seen[0],flush=True)
