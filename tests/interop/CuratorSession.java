import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.data.Stat;

/**
 * A session of Curator's framework and recipes told line by line; two servers must give the same telling. Every step is bounded in
 * time, nothing printed depends on ports, ids or the clock.
 */
public class CuratorSession {
    interface Step {
        Object run() throws Exception;
    }

    static void tell(String name, Step step) {
        String result;
        try {
            result = String.valueOf(step.run());
        } catch (Exception failure) {
            result = failure instanceof KeeperException ? ((KeeperException) failure).code().toString() : failure.toString();
        }
        System.out.println(name + ": " + result);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static CuratorFramework client(String address) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(address).sessionTimeoutMs(10000)
            .connectionTimeoutMs(10000).retryPolicy(new RetryOneTime(100)).build();
        client.start();
        client.blockUntilConnected(10, TimeUnit.SECONDS);
        return client;
    }

    public static void main(String[] arguments) throws Exception {
        CuratorFramework one = client(arguments[0]);
        CuratorFramework two = client(arguments[0]);
        tell("connected", () -> one.getZookeeperClient().isConnected() && two.getZookeeperClient().isConnected());
        tell("create with parents", () -> one.create().creatingParentsIfNeeded().forPath("/curator/a/b", bytes("x")));
        tell("create again", () -> one.create().forPath("/curator/a/b", bytes("x")));
        tell("create or set", () -> one.create().orSetData().forPath("/curator/a/b", bytes("y")));
        tell("create with container parents", () -> one.create().creatingParentContainersIfNeeded().forPath("/curator/box/in/it"));
        tell("protected sequential", () -> one.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL)
            .forPath("/curator/p-").replaceAll("_c_.*-p-", "_c_#-p-"));
        tell("ttl", () -> one.create().withTtl(100000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/curator/ttl"));
        tell("read", () -> new String(two.getData().forPath("/curator/a/b")));
        tell("set with version", () -> one.setData().withVersion(1).forPath("/curator/a/b", bytes("z")).getVersion());
        tell("set with old version", () -> one.setData().withVersion(1).forPath("/curator/a/b", bytes("z")));
        tell("stat", () -> {
            Stat stat = two.checkExists().forPath("/curator/a");
            return stat.getVersion() + " " + stat.getCversion() + " " + stat.getNumChildren();
        });
        tell("transaction", () -> one.transaction().forOperations(
            one.transactionOp().create().forPath("/curator/t", bytes("1")),
            one.transactionOp().setData().withVersion(0).forPath("/curator/t", bytes("2")),
            one.transactionOp().check().withVersion(1).forPath("/curator/t"),
            one.transactionOp().delete().withVersion(1).forPath("/curator/t")).size());
        tell("transaction that fails", () -> one.transaction().forOperations(
            one.transactionOp().create().forPath("/curator/t", bytes("1")),
            one.transactionOp().check().withVersion(9).forPath("/curator/t")).size());
        tell("nothing of it", () -> one.checkExists().forPath("/curator/t"));
        tell("lock", () -> lock(one, two));
        tell("mutual exclusion", () -> exclusion(one, two));
        tell("read write lock", () -> readWrite(one, two));
        tell("semaphore", () -> semaphore(one, two));
        tell("leader latch", () -> leader(one, two));
        tell("leadership passes when a client goes", () -> succession(arguments[0], one));
        tell("cache", () -> cache(one, two));
        tell("persistent watch", () -> watcher(one, two, false));
        tell("recursive watch", () -> watcher(one, two, true));
        tell("atomic long", () -> counter(one, two));
        tell("shared count", () -> sharedCount(one, two));
        tell("queue", () -> queue(one, two));
        tell("double barrier", () -> barrier(one, two));
        tell("persistent node", () -> persistentNode(one, two));
        tell("persistent ttl node", () -> ttlNode(one, two));
        tell("background", () -> background(one));
        tell("delete with children", () -> one.delete().deletingChildrenIfNeeded().forPath("/curator"));
        tell("left over", () -> two.checkExists().forPath("/curator"));
        one.close();
        two.close();
        System.exit(0);
    }

    static Object lock(CuratorFramework one, CuratorFramework two) throws Exception {
        InterProcessMutex mine = new InterProcessMutex(one, "/curator/lock");
        InterProcessMutex theirs = new InterProcessMutex(two, "/curator/lock");
        boolean first = mine.acquire(5, TimeUnit.SECONDS);
        boolean reentrant = mine.acquire(5, TimeUnit.SECONDS);
        boolean while_held = theirs.acquire(300, TimeUnit.MILLISECONDS);
        mine.release();
        mine.release();
        boolean after = theirs.acquire(5, TimeUnit.SECONDS);
        theirs.release();
        return first + " " + reentrant + " " + while_held + " " + after;
    }

    static Object exclusion(CuratorFramework... clients) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger violations = new AtomicInteger();
        AtomicInteger turns = new AtomicInteger();
        ExecutorService threads = Executors.newFixedThreadPool(6);
        for (int i = 0; i < 6; i++) {
            CuratorFramework client = clients[i % clients.length];
            threads.submit(() -> {
                InterProcessMutex mutex = new InterProcessMutex(client, "/curator/exclusion");
                for (int turn = 0; turn < 10; turn++) {
                    if (!mutex.acquire(20, TimeUnit.SECONDS)) {
                        violations.addAndGet(1000);
                        continue;
                    }
                    if (inside.incrementAndGet() != 1) {
                        violations.incrementAndGet();
                    }
                    Thread.sleep(1);
                    inside.decrementAndGet();
                    turns.incrementAndGet();
                    mutex.release();
                }
                return null;
            });
        }
        threads.shutdown();
        boolean done = threads.awaitTermination(60, TimeUnit.SECONDS);
        return done + ", " + turns + " turns, " + violations + " violations";
    }

    static Object readWrite(CuratorFramework one, CuratorFramework two) throws Exception {
        InterProcessReadWriteLock mine = new InterProcessReadWriteLock(one, "/curator/rw");
        InterProcessReadWriteLock theirs = new InterProcessReadWriteLock(two, "/curator/rw");
        boolean read = mine.readLock().acquire(5, TimeUnit.SECONDS);
        boolean readToo = theirs.readLock().acquire(5, TimeUnit.SECONDS);
        theirs.readLock().release();
        boolean write = theirs.writeLock().acquire(300, TimeUnit.MILLISECONDS);
        mine.readLock().release();
        boolean writeLater = theirs.writeLock().acquire(5, TimeUnit.SECONDS);
        theirs.writeLock().release();
        return read + " " + readToo + " " + write + " " + writeLater;
    }

    static Object semaphore(CuratorFramework one, CuratorFramework two) throws Exception {
        InterProcessSemaphoreV2 mine = new InterProcessSemaphoreV2(one, "/curator/semaphore", 2);
        InterProcessSemaphoreV2 theirs = new InterProcessSemaphoreV2(two, "/curator/semaphore", 2);
        Lease first = mine.acquire(5, TimeUnit.SECONDS);
        Lease second = theirs.acquire(5, TimeUnit.SECONDS);
        Lease third = theirs.acquire(300, TimeUnit.MILLISECONDS);
        mine.returnLease(first);
        Lease fourth = theirs.acquire(5, TimeUnit.SECONDS);
        theirs.returnLease(second);
        theirs.returnLease(fourth);
        return (first != null) + " " + (second != null) + " " + (third != null) + " " + (fourth != null);
    }

    static Object leader(CuratorFramework one, CuratorFramework two) throws Exception {
        LeaderLatch first = new LeaderLatch(one, "/curator/latch", "first");
        first.start();
        first.await(10, TimeUnit.SECONDS);
        LeaderLatch second = new LeaderLatch(two, "/curator/latch", "second");
        second.start();
        boolean early = second.await(300, TimeUnit.MILLISECONDS);
        String before = second.getLeader().getId();
        first.close();
        boolean late = second.await(10, TimeUnit.SECONDS);
        String after = second.getLeader().getId();
        second.close();
        return before + " " + early + " " + after + " " + late;
    }

    static Object succession(String address, CuratorFramework one) throws Exception {
        CuratorFramework mortal = client(address);
        LeaderLatch first = new LeaderLatch(mortal, "/curator/succession", "mortal");
        first.start();
        first.await(10, TimeUnit.SECONDS);
        LeaderLatch second = new LeaderLatch(one, "/curator/succession", "heir");
        second.start();
        mortal.close();
        boolean inherited = second.await(20, TimeUnit.SECONDS);
        second.close();
        return inherited;
    }

    static Object cache(CuratorFramework one, CuratorFramework two) throws Exception {
        two.create().forPath("/curator/cache", bytes("0"));
        two.create().forPath("/curator/cache/old", bytes("1"));
        List<String> events = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch ready = new CountDownLatch(1);
        CuratorCache cache = CuratorCache.build(one, "/curator/cache");
        cache.listenable().addListener(CuratorCacheListener.builder()
            .forInitialized(ready::countDown)
            .forAll((type, before, after) -> events.add(type + " " + (after == null ? before : after).getPath()))
            .build());
        cache.start();
        ready.await(10, TimeUnit.SECONDS);
        List<String> initial = new ArrayList<>(events);
        Collections.sort(initial);
        events.clear();
        two.create().forPath("/curator/cache/new", bytes("2"));
        await(events, 1);
        two.setData().forPath("/curator/cache/old", bytes("3"));
        await(events, 2);
        two.delete().forPath("/curator/cache/new");
        await(events, 3);
        two.create().creatingParentsIfNeeded().forPath("/curator/cache/deep/er", bytes("4"));
        await(events, 5);
        int size = (int) cache.stream().count();
        cache.close();
        return initial + " then " + events + ", " + size + " nodes";
    }

    static void await(List<?> list, int size) throws Exception {
        for (int i = 0; i < 500 && list.size() < size; i++) {
            Thread.sleep(20);
        }
    }

    static Object watcher(CuratorFramework one, CuratorFramework two, boolean recursive) throws Exception {
        String path = "/curator/watched" + recursive;
        List<String> events = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch set = new CountDownLatch(1);
        PersistentWatcher watcher = new PersistentWatcher(one, path, recursive);
        watcher.getListenable().addListener(event -> {
            if (event.getPath() != null) {
                events.add(event.getType() + " " + event.getPath());
            }
        });
        watcher.getResetListenable().addListener(set::countDown);
        watcher.start();
        set.await(10, TimeUnit.SECONDS);
        two.create().forPath(path, bytes("1"));
        two.setData().forPath(path, bytes("2"));
        two.create().forPath(path + "/c", bytes("3"));
        two.setData().forPath(path + "/c", bytes("4"));
        two.delete().forPath(path + "/c");
        two.delete().forPath(path);
        await(events, recursive ? 6 : 5);
        Thread.sleep(100);
        watcher.close();
        return events;
    }

    static Object counter(CuratorFramework... clients) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(4);
        for (int i = 0; i < 4; i++) {
            CuratorFramework client = clients[i % clients.length];
            threads.submit(() -> {
                DistributedAtomicLong number = new DistributedAtomicLong(client, "/curator/long", new RetryOneTime(1));
                for (int done = 0; done < 25;) {
                    if (number.increment().succeeded()) {
                        done++;
                    }
                }
                return null;
            });
        }
        threads.shutdown();
        boolean done = threads.awaitTermination(60, TimeUnit.SECONDS);
        return done + " " + new DistributedAtomicLong(clients[0], "/curator/long", new RetryOneTime(1)).get().postValue();
    }

    static Object sharedCount(CuratorFramework one, CuratorFramework two) throws Exception {
        SharedCount mine = new SharedCount(one, "/curator/shared", 5);
        SharedCount theirs = new SharedCount(two, "/curator/shared", 5);
        mine.start();
        theirs.start();
        mine.setCount(42);
        for (int i = 0; i < 500 && theirs.getCount() != 42; i++) {
            Thread.sleep(20);
        }
        int seen = theirs.getCount();
        mine.close();
        theirs.close();
        return seen;
    }

    static Object queue(CuratorFramework one, CuratorFramework two) throws Exception {
        SimpleDistributedQueue in = new SimpleDistributedQueue(one, "/curator/queue");
        SimpleDistributedQueue out = new SimpleDistributedQueue(two, "/curator/queue");
        for (int i = 0; i < 5; i++) {
            in.offer(bytes("item" + i));
        }
        StringBuilder taken = new StringBuilder();
        for (int i = 0; i < 5; i++) {
            taken.append(new String(out.poll(5, TimeUnit.SECONDS))).append(' ');
        }
        return taken + "" + (out.poll(200, TimeUnit.MILLISECONDS) == null);
    }

    static Object barrier(CuratorFramework one, CuratorFramework two) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(1);
        var other = threads.submit(() -> {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(two, "/curator/barrier", 2);
            return barrier.enter(20, TimeUnit.SECONDS) && barrier.leave(20, TimeUnit.SECONDS);
        });
        DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(one, "/curator/barrier", 2);
        boolean passed = barrier.enter(20, TimeUnit.SECONDS) && barrier.leave(20, TimeUnit.SECONDS);
        boolean both = other.get(30, TimeUnit.SECONDS);
        threads.shutdown();
        return passed + " " + both;
    }

    static Object persistentNode(CuratorFramework one, CuratorFramework two) throws Exception {
        PersistentNode node = new PersistentNode(one, CreateMode.EPHEMERAL, false, "/curator/node", bytes("alive"));
        node.start();
        boolean created = node.waitForInitialCreate(10, TimeUnit.SECONDS);
        two.delete().forPath("/curator/node");
        boolean again = false;
        for (int i = 0; i < 500 && !again; i++) {
            Thread.sleep(20);
            again = two.checkExists().forPath("/curator/node") != null;
        }
        node.close();
        return created + " " + again;
    }

    static Object ttlNode(CuratorFramework one, CuratorFramework two) throws Exception {
        PersistentTtlNode node = new PersistentTtlNode(one, "/curator/ttlnode", 5000, bytes("alive"));
        node.start();
        boolean created = node.waitForInitialCreate(10, TimeUnit.SECONDS);
        boolean seen = two.checkExists().forPath("/curator/ttlnode") != null;
        node.close();
        return created + " " + seen;
    }

    static Object background(CuratorFramework one) throws Exception {
        CountDownLatch done = new CountDownLatch(200);
        AtomicInteger codes = new AtomicInteger();
        for (int i = 0; i < 200; i++) {
            one.create().inBackground((client, event) -> {
                codes.addAndGet(event.getResultCode());
                done.countDown();
            }).forPath("/curator/bg" + i, bytes("b"));
        }
        return done.await(20, TimeUnit.SECONDS) + " " + codes;
    }
}
