/* A session of the ZooKeeper C client (libzookeeper_mt) told line by line.
 *
 * Run against two servers the two tellings must be equal: nothing printed depends on time, port or session id. Covers the synchronous
 * and the asynchronous interface, watches, multi, ephemerals, ACLs, sequences, containers, TTL, reconnection with a known session id
 * and a pipeline of a thousand writes.
 *
 * Usage: client <host:port>
 */
#define THREADED
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected, events, completions, failures;
static char event_text[64][200];

static void global_watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh;
    (void)path;
    (void)context;
    pthread_mutex_lock(&lock);
    if (type == ZOO_SESSION_EVENT) {
        connected = state == ZOO_CONNECTED_STATE ? 1 : state == ZOO_EXPIRED_SESSION_STATE ? -1 : 0;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void node_watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh;
    if (type == ZOO_SESSION_EVENT) return;
    pthread_mutex_lock(&lock);
    if (events < 64) snprintf(event_text[events], sizeof event_text[0], "%s: type %d state %d path %s", (char *)context, type, state, path);
    events++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Waits until `*counter` reaches `goal`, ten seconds at most. */
static void await(int *counter, int goal) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 10;
    pthread_mutex_lock(&lock);
    while (*counter < goal && pthread_cond_timedwait(&changed, &lock, &deadline) == 0) {
    }
    pthread_mutex_unlock(&lock);
}

static void tell_events(int goal) {
    await(&events, goal);
    usleep(100 * 1000); /* one too many would be a difference as well */
    pthread_mutex_lock(&lock);
    for (int i = 0; i < events && i < 64; i++) printf("  event %s\n", event_text[i]);
    if (events != goal) printf("  %d events, not %d\n", events, goal);
    events = 0;
    pthread_mutex_unlock(&lock);
}

static void tell_stat(const char *step, int rc, const struct Stat *stat) {
    if (rc) printf("%s: %s\n", step, zerror(rc));
    else
        printf("%s: version %d cversion %d aversion %d children %d length %d ephemeral %d touched %d\n", step, stat->version, stat->cversion,
               stat->aversion, stat->numChildren, stat->dataLength, stat->ephemeralOwner != 0, stat->mzxid != stat->czxid);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void tell_children(const char *step, zhandle_t *zh, const char *path) {
    struct String_vector names = {0};
    int rc = zoo_get_children(zh, path, 0, &names);
    printf("%s: %s", step, zerror(rc));
    qsort(names.data, names.count, sizeof *names.data, by_name);
    for (int i = 0; i < names.count; i++) printf(" %s", names.data[i]);
    printf("\n");
    deallocate_String_vector(&names);
}

static void on_string(int rc, const char *value, const void *data) {
    (void)value;
    (void)data;
    pthread_mutex_lock(&lock);
    completions++;
    if (rc) failures++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_void(int rc, const void *data) { on_string(rc, NULL, data); }

static void on_stat(int rc, const struct Stat *stat, const void *data) {
    pthread_mutex_lock(&lock);
    /* Writes of one session apply in its order: the n-th set makes version n. */
    if (rc || stat->version != (int)(size_t)data) failures++;
    completions++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static zhandle_t *start(const char *host, const clientid_t *id) {
    connected = 0;
    zhandle_t *zh = zookeeper_init(host, global_watcher, 10000, id, NULL, 0);
    await(&connected, 1);
    return zh;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    zoo_set_debug_level(0);
    zhandle_t *zh = start(arguments[1], NULL);
    printf("connected: %d\n", connected);
    printf("negotiated timeout: %d\n", zoo_recv_timeout(zh));
    char path[256], data[256];
    int length, rc;
    struct Stat stat;

    printf("create: %s\n", zerror(zoo_create(zh, "/c", "hello", 5, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path)));
    printf("create again: %s\n", zerror(zoo_create(zh, "/c", "hello", 5, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path)));
    rc = zoo_create2(zh, "/c/two", "2", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path, &stat);
    tell_stat("create2", rc, &stat);
    rc = zoo_create2_ttl(zh, "/c/ttl", "2", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 100000, path, sizeof path, &stat);
    tell_stat("create2 ttl", rc, &stat);
    printf("create container: %s\n", zerror(zoo_create(zh, "/c/box", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, path, sizeof path)));
    printf("create below nothing: %s\n", zerror(zoo_create(zh, "/x/y", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path)));
    for (int i = 0; i < 3; i++) {
        rc = zoo_create(zh, "/c/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, i == 1 ? ZOO_EPHEMERAL_SEQUENTIAL : ZOO_SEQUENCE, path, sizeof path);
        printf("sequence: %s %s\n", zerror(rc), path);
    }
    length = sizeof data;
    rc = zoo_get(zh, "/c", 0, data, &length, &stat);
    printf("get: %s %.*s\n", zerror(rc), length, data);
    tell_stat("its stat", rc, &stat);
    length = sizeof data;
    rc = zoo_get(zh, "/c/box", 0, data, &length, &stat);
    printf("get null: %s length %d\n", zerror(rc), length);
    tell_stat("set", zoo_set2(zh, "/c", "new", 3, 0, &stat), &stat);
    tell_stat("set with an old version", zoo_set2(zh, "/c", "new", 3, 0, &stat), &stat);
    tell_stat("exists", zoo_exists(zh, "/c", 0, &stat), &stat);
    tell_stat("exists not", zoo_exists(zh, "/nope", 0, &stat), &stat);
    tell_children("children", zh, "/c");

    struct String_vector names = {0};
    zoo_wexists(zh, "/c/w", node_watcher, "exists", &stat);
    zoo_wget_children(zh, "/c", node_watcher, "children", &names);
    deallocate_String_vector(&names);
    zoo_create(zh, "/c/w", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    printf("watches on creation\n");
    tell_events(2);
    length = sizeof data;
    zoo_wget(zh, "/c/w", node_watcher, "data", data, &length, &stat);
    zoo_set(zh, "/c/w", "1", 1, -1);
    zoo_set(zh, "/c/w", "2", 1, -1);
    printf("watch on data\n");
    tell_events(1);
    length = sizeof data;
    zoo_wget(zh, "/c/w", node_watcher, "data", data, &length, &stat);
    printf("delete: %s\n", zerror(zoo_delete(zh, "/c/w", 2)));
    tell_events(1);
    length = sizeof data;
    zoo_wget(zh, "/c", node_watcher, "removed", data, &length, &stat);
    printf("remove watches: %s\n", zerror(zoo_remove_watches(zh, "/c", ZWATCHTYPE_DATA, node_watcher, "removed", 0)));
    printf("remove watches again: %s\n", zerror(zoo_remove_watches(zh, "/c", ZWATCHTYPE_DATA, node_watcher, "removed", 0)));
    usleep(200 * 1000);
    pthread_mutex_lock(&lock);
    events = 0;
    pthread_mutex_unlock(&lock);

    zoo_op_t ops[5];
    zoo_op_result_t results[5];
    zoo_create_op_init(&ops[0], "/c/m", "m", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_set_op_init(&ops[1], "/c/m", "mm", 2, 0, &stat);
    zoo_check_op_init(&ops[2], "/c/m", 1);
    zoo_create_op_init(&ops[3], "/c/n-", "n", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, data, sizeof data);
    zoo_delete_op_init(&ops[4], "/c/m", 1);
    printf("multi: %s", zerror(zoo_multi(zh, 5, ops, results)));
    for (int i = 0; i < 5; i++) printf(" %d", results[i].err);
    printf(" %s\n", data);
    zoo_check_op_init(&ops[2], "/c/m", 7);
    printf("multi that fails: %s", zerror(zoo_multi(zh, 5, ops, results)));
    for (int i = 0; i < 5; i++) printf(" %d", results[i].err);
    printf("\n");
    tell_stat("nothing of it is there", zoo_exists(zh, "/c/m", 0, &stat), &stat);

    printf("acl on creation: %s\n", zerror(zoo_create(zh, "/c/ro", "", 0, &ZOO_READ_ACL_UNSAFE, 0, path, sizeof path)));
    printf("set without permission: %s\n", zerror(zoo_set(zh, "/c/ro", "x", 1, -1)));
    printf("creator acl without credentials: %s\n", zerror(zoo_create(zh, "/c/own", "", 0, &ZOO_CREATOR_ALL_ACL, 0, path, sizeof path)));
    completions = failures = 0;
    zoo_add_auth(zh, "digest", "user:pass", 9, on_void, NULL);
    await(&completions, 1);
    printf("auth: %d completions, %d failures\n", completions, failures);
    printf("creator acl: %s\n", zerror(zoo_create(zh, "/c/own", "secret", 6, &ZOO_CREATOR_ALL_ACL, 0, path, sizeof path)));
    struct ACL_vector acl = {0};
    rc = zoo_get_acl(zh, "/c/own", &acl, &stat);
    printf("get acl: %s", zerror(rc));
    for (int i = 0; i < acl.count; i++) printf(" %d:%s:%s", acl.data[i].perms, acl.data[i].id.scheme, acl.data[i].id.id);
    printf("\n");
    deallocate_ACL_vector(&acl);
    zhandle_t *other = start(arguments[1], NULL);
    length = sizeof data;
    printf("another session reads it: %s\n", zerror(zoo_get(other, "/c/own", 0, data, &length, &stat)));

    completions = failures = 0;
    zoo_create(zh, "/c/counter", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    for (size_t i = 1; i <= 1000; i++) zoo_aset(zh, "/c/counter", "x", 1, (int)i - 1, on_stat, (void *)i);
    await(&completions, 1000);
    printf("pipelined sets: %d completions, %d failures\n", completions, failures);
    completions = failures = 0;
    for (int i = 0; i < 500; i++) {
        snprintf(path, sizeof path, "/c/p%d", i);
        zoo_acreate(zh, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, i % 2 ? ZOO_EPHEMERAL : 0, on_string, NULL);
        zoo_adelete(zh, path, 0, on_void, NULL);
    }
    await(&completions, 1000);
    printf("pipelined create and delete: %d completions, %d failures\n", completions, failures);
    completions = failures = 0;
    zoo_async(zh, "/c", on_string, NULL);
    await(&completions, 1);
    printf("sync: %d completions, %d failures\n", completions, failures);

    printf("ephemeral: %s\n", zerror(zoo_create(other, "/c/e", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, path, sizeof path)));
    printf("child of an ephemeral: %s\n", zerror(zoo_create(other, "/c/e/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path)));
    tell_stat("ephemeral seen by another", zoo_wexists(zh, "/c/e", node_watcher, "ephemeral", &stat), &stat);
    printf("close: %s\n", zerror(zookeeper_close(other)));
    tell_events(1);
    tell_stat("ephemeral after the close", zoo_exists(zh, "/c/e", 0, &stat), &stat);

    printf("delete with children: %s\n", zerror(zoo_delete(zh, "/c", -1)));
    clientid_t id = *zoo_client_id(zh);
    printf("session id: %s\n", id.client_id ? "given" : "none");
    zookeeper_close(zh);
    zhandle_t *closed = start(arguments[1], &id);
    printf("a closed session again: %s\n", connected == -1 ? "expired" : connected == 1 ? "alive" : "unknown");
    zookeeper_close(closed);
    zh = start(arguments[1], NULL);
    tell_children("children in the end", zh, "/c");
    zookeeper_close(zh);
    return 0;
}
