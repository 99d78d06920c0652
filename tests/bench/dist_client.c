/* The C client of the bench: erl_interface's ei_rpc in a loop, on one connection.

     dist_client ADDRESS PEER COOKIE MODULE FUNCTION ARGUMENT MILLISECONDS SLICES

   ARGUMENT is one argument of the call: "-3", or "row" for {bench, 1, <<"twenty bytes of value">>}.
   Prints, of so many slices of so many milliseconds, the best: calls a second, microseconds of CPU per call. */
#include <arpa/inet.h>
#include <ei.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double wall(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static int call(ei_cnode *node, int fd, char **argv) {
    ei_x_buff args, answer;
    int status;
    ei_x_new(&args);
    ei_x_new(&answer);
    ei_x_encode_list_header(&args, 1);
    if (strcmp(argv[6], "row") == 0) {
        ei_x_encode_tuple_header(&args, 3);
        ei_x_encode_atom(&args, "bench");
        ei_x_encode_long(&args, 1);
        ei_x_encode_binary(&args, "twenty bytes of value", 21);
    } else {
        ei_x_encode_long(&args, atol(argv[6]));
    }
    ei_x_encode_empty_list(&args);
    status = ei_rpc(node, fd, argv[4], argv[5], args.buff, args.index, &answer);
    ei_x_free(&args);
    ei_x_free(&answer);
    return status;
}

int main(int argc, char **argv) {
    ei_cnode node;
    struct in_addr address, own;
    int fd, slice;
    double rate = 0, cost = 1e9;
    if (argc != 9) return 2;
    ei_init();
    inet_pton(AF_INET, argv[1], &address);
    inet_pton(AF_INET, "127.0.0.1", &own);
    if (ei_connect_xinit(&node, "harness", "bench-c", "bench-c@harness", &own, argv[3], 1) < 0) return 3;
    fd = ei_xconnect(&node, &address, argv[2]);
    if (fd < 0) {
        fprintf(stderr, "ei_xconnect: error %d\n", erl_errno);
        return 4;
    }
    for (slice = atoi(argv[8]); slice > 0; slice--) {
        long calls = 0;
        double before = cpu(), began = wall(), end = began + atol(argv[7]) / 1e3, now;
        while ((now = wall()) < end) {
            if (call(&node, fd, argv) < 0) return 5;
            calls++;
        }
        if (calls / (now - began) > rate) rate = calls / (now - began);
        if ((cpu() - before) / calls < cost) cost = (cpu() - before) / calls;
    }
    printf("%f %f\n", rate, cost * 1e6);
    return 0;
}
