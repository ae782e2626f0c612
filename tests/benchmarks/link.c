/* A link of a given round trip and bandwidth, as a TUN device: link DEVICE ROUND_TRIP_MS MBIT SERVER_PORT
 *
 * What the kernel sends to the address behind the device comes back half a round trip later from there, with source and
 * destination exchanged (which leaves every checksum as it was): a client that connects to 10.9.0.2 meets the server that
 * listens at 10.9.0.1. So the kernel's own TCP works over the distance: handshakes, slow start, windows. What comes from
 * the server's port shares MBIT megabits a second (0: no bound) and waits in a queue that holds a quarter of a second.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 1 << 15, LONGEST = 2048 };

struct packet { int64_t due; int length; unsigned char bytes[LONGEST]; };
struct way { struct packet *ring; unsigned head, tail; int64_t free_at; };

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void turn_round(unsigned char *ip) {
    unsigned char source[4];
    memcpy(source, ip + 12, 4);
    memcpy(ip + 12, ip + 16, 4);
    memcpy(ip + 16, source, 4);
}

int main(int count, char **words) {
    if (count != 5) return 2;
    int64_t delay = (int64_t)(atof(words[2]) * 1e6 / 2);
    double a_byte = atof(words[3]) > 0 ? 8e3 / atof(words[3]) : 0; /* nanoseconds */
    int port = atoi(words[4]);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strncpy(request.ifr_name, words[1], IFNAMSIZ - 1);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (device < 0 || ioctl(device, TUNSETIFF, &request) < 0) { perror("tun"); return 1; }
    struct way ways[2] = {{0}, {0}}; /* to the server, and from it */
    for (int i = 0; i < 2; i++)
        if (!(ways[i].ring = malloc(sizeof(struct packet) * SLOTS))) return 1;
    for (;;) {
        int64_t next = INT64_MAX;
        for (int i = 0; i < 2; i++)
            if (ways[i].head != ways[i].tail && ways[i].ring[ways[i].head % SLOTS].due < next)
                next = ways[i].ring[ways[i].head % SLOTS].due;
        int64_t wait = next == INT64_MAX ? 1000000000 : next - now();
        if (wait > 0) {
            struct pollfd fd = {.fd = device, .events = POLLIN};
            struct timespec until = {wait / 1000000000, wait % 1000000000};
            ppoll(&fd, 1, &until, NULL);
        }
        unsigned char bytes[LONGEST];
        ssize_t length;
        for (int n = 0; n < 64 && (length = read(device, bytes, sizeof bytes)) > 0; n++) {
            if (bytes[0] >> 4 != 4 || bytes[9] != 6) continue; /* IPv4 and TCP */
            unsigned char *tcp = bytes + (bytes[0] & 15) * 4;
            struct way *way = &ways[(tcp[0] << 8 | tcp[1]) == port];
            int64_t at = now(), begins = way->free_at > at ? way->free_at : at;
            int bound = way == &ways[1] && a_byte > 0;
            if (way->tail - way->head >= SLOTS || (bound && begins - at > 250000000)) continue; /* the queue is full */
            way->free_at = bound ? begins + (int64_t)(length * a_byte) : at;
            struct packet *packet = &way->ring[way->tail++ % SLOTS];
            packet->due = way->free_at + delay;
            packet->length = (int)length;
            memcpy(packet->bytes, bytes, length);
            turn_round(packet->bytes);
        }
        int64_t at = now();
        for (int i = 0; i < 2; i++)
            while (ways[i].head != ways[i].tail && ways[i].ring[ways[i].head % SLOTS].due <= at) {
                struct packet *packet = &ways[i].ring[ways[i].head++ % SLOTS];
                if (write(device, packet->bytes, packet->length) < 0) { /* as any link may, it loses one */ }
            }
    }
}
