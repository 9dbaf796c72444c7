/* One USB device for a program that was linked with libusb-1.0, preloaded in front of it: every control transfer goes
 * over a Unix socket to the test, where the simulated boot loader answers. Structures as libusb-1.0's API documents
 * them; only what dfu-util 0.11 calls is here.
 *
 * FAKE_USB: path of the socket. FAKE_DEVICE: `vid pid alts functional-descriptor`, numbers in hexadecimal. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST_ALTS 8
#define FUNCTIONAL_BYTES 9
#define FIRST_ALT_STRING 4
#define ERROR_IO (-1)

struct device_descriptor {
    uint8_t length, type;
    uint16_t usb;
    uint8_t class, subclass, protocol, packet;
    uint16_t vendor, product, device;
    uint8_t manufacturer_string, product_string, serial_string, configurations;
};
struct interface_descriptor {
    uint8_t length, type, number, alternate, endpoints, class, subclass, protocol, string;
    const void *endpoint;
    const unsigned char *extra;
    int extra_length;
};
struct interface {
    const struct interface_descriptor *settings;
    int count;
};
struct config_descriptor {
    uint8_t length, type;
    uint16_t total;
    uint8_t interfaces, value, string, attributes, power;
    const struct interface *interface;
    const unsigned char *extra;
    int extra_length;
};

static int device, wire = -1; /* the device's address stands for device and handle */
static void *list[2] = {&device, NULL};
static unsigned vendor, product, alts;
static unsigned char functional[FUNCTIONAL_BYTES];
static struct interface_descriptor settings[MOST_ALTS];
static struct interface only = {settings, 0};
static struct config_descriptor config = {9, 2, 0, 1, 1, 0, 0x80, 50, &only, NULL, 0};

static int whole(int is_read, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        char *place = (char *)data + done;
        ssize_t count = is_read ? read(wire, place, size - done) : write(wire, place, size - done);
        if (count <= 0)
            return 0;
        done += (size_t)count;
    }
    return 1;
}

int libusb_init(void **context)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *text = getenv("FAKE_DEVICE");
    char hex[2 * FUNCTIONAL_BYTES + 1];
    if (!text || sscanf(text, "%x %x %x %18s", &vendor, &product, &alts, hex) != 4 || alts > MOST_ALTS)
        return ERROR_IO;
    for (int i = 0; i < FUNCTIONAL_BYTES; i++)
        sscanf(hex + 2 * i, "%2hhx", &functional[i]);
    for (unsigned i = 0; i < alts; i++)
        settings[i] = (struct interface_descriptor){
            9, 4, 0, (uint8_t)i, 0, 0xFE, 1, 2, (uint8_t)(FIRST_ALT_STRING + i), NULL,
            i + 1 == alts ? functional : NULL, i + 1 == alts ? FUNCTIONAL_BYTES : 0};
    only.count = (int)alts;
    strncpy(address.sun_path, getenv("FAKE_USB"), sizeof address.sun_path - 1);
    wire = socket(AF_UNIX, SOCK_STREAM, 0);
    if (context)
        *context = &device;
    return connect(wire, (struct sockaddr *)&address, sizeof address) ? ERROR_IO : 0;
}

int libusb_control_transfer(void *handle, uint8_t kind, uint8_t request, uint16_t value, uint16_t index,
                            unsigned char *data, uint16_t length, unsigned timeout)
{
    unsigned char setup[8] = {kind, request, (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)index,
                              (uint8_t)(index >> 8), (uint8_t)length, (uint8_t)(length >> 8)};
    int32_t count;
    (void)handle, (void)timeout;
    if (!whole(0, setup, 8) || (!(kind & 0x80) && !whole(0, data, length)) || !whole(1, &count, 4))
        return ERROR_IO;
    if (count > 0 && (kind & 0x80) && !whole(1, data, (size_t)count))
        return ERROR_IO;
    return count;
}

int libusb_set_interface_alt_setting(void *handle, int interface, int alternate)
{
    int count = libusb_control_transfer(handle, 0x01, 11, (uint16_t)alternate, (uint16_t)interface, NULL, 0, 0);
    return count < 0 ? count : 0;
}

int libusb_get_device_descriptor(void *given, struct device_descriptor *out)
{
    (void)given;
    *out = (struct device_descriptor){18, 1, 0x0200, 0, 0, 0, 64, (uint16_t)vendor, (uint16_t)product, 0x0200,
                                      1, 2, 3, 1};
    return 0;
}

int libusb_get_config_descriptor(void *given, uint8_t number, struct config_descriptor **out)
{
    (void)given;
    *out = &config;
    return number ? -5 : 0;
}

long libusb_get_device_list(void *context, void ***out) { (void)context; *out = list; return 1; }
int libusb_open(void *given, void **handle) { *handle = given; return 0; }
int libusb_get_port_numbers(void *given, uint8_t *ports, int most) { (void)given; (void)most; *ports = 1; return 1; }
uint8_t libusb_get_bus_number(void *given) { (void)given; return 1; }
uint8_t libusb_get_device_address(void *given) { (void)given; return 4; }
void *libusb_ref_device(void *given) { return given; }
int libusb_set_option(void *context, int option, ...) { (void)context; (void)option; return 0; }
int libusb_claim_interface(void *handle, int number) { (void)handle; (void)number; return 0; }
int libusb_release_interface(void *handle, int number) { (void)handle; (void)number; return 0; }
int libusb_reset_device(void *handle) { (void)handle; return 0; }
void libusb_unref_device(void *given) { (void)given; }
void libusb_close(void *handle) { (void)handle; }
void libusb_free_config_descriptor(void *given) { (void)given; }
void libusb_free_device_list(void **given, int unref) { (void)given; (void)unref; }
void libusb_exit(void *context) { (void)context; close(wire); }
