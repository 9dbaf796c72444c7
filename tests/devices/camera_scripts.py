"""MicroPython scripts for OpenMV cameras in the manner of Studio's three generations, and our own."""

from __future__ import annotations

START = """import sensor, image, time, os, {modules}

sensor.reset()
sensor.set_pixformat(sensor.RGB565)
sensor.set_framesize(sensor.QVGA)
sensor.set_windowing((240, 240))
sensor.skip_frames(time=2000)
"""
LOAD = """
try:
    net = {load}
except Exception as e:
    print(e)
    raise Exception('Failed to load "trained.tflite", did you copy the .tflite and labels.txt file onto the \
mass-storage device? (' + str(e) + ')')

try:
    labels = [line.rstrip('\\n') for line in open("labels.txt")]
except Exception as e:
    raise Exception('Failed to load "labels.txt", did you copy the .tflite and labels.txt file onto the \
mass-storage device? (' + str(e) + ')')
"""
LOOP = """
clock = time.clock()
while(True):
    clock.tick()
    img = sensor.snapshot()
"""
FIT = "load_to_fb=uos.stat('trained.tflite')[6] > (gc.mem_free() - (64*1024))"
SCORES = """        for i in range(len(predictions_list)):
            print("%s = %f" % (predictions_list[i][0], predictions_list[i][1]))
"""
WINDOWS = """    for obj in {call}(img, min_scale=1.0, scale_mul=0.8, x_overlap=0.5, y_overlap=0.5):
        print("**********\\nPredictions at [x=%d,y=%d,w=%d,h=%d]" % obj.rect())
        predictions_list = list(zip(labels, obj.output()))
"""
FPS = '    print(clock.fps(), "fps")\n'
FPS_GAP = '    print(clock.fps(), "fps", end="\\n\\n")\n'
CENTRES = """        print("********** %s **********" % labels[i])
"""

Y2020 = (
    START.format(modules="tf")
    + """
net = "trained.tflite"
labels = [line.rstrip('\\n') for line in open("labels.txt")]
"""
    + LOOP
    + WINDOWS.format(call="tf.classify").replace("(img", "(net, img")
    + SCORES
    + FPS
)
Y2022 = (
    START.format(modules="tf, uos, gc")
    + LOAD.format(load=f'tf.load("trained.tflite", {FIT})')
    + LOOP
    + WINDOWS.format(call="net.classify")
    + SCORES
    + FPS
)
Y2024 = (
    START.format(modules="ml, uos, gc")
    + LOAD.format(load=f'ml.Model("trained.tflite", {FIT})')
    + LOOP
    + """    predictions_list = list(zip(labels, net.predict([img])[0].flatten().tolist()))
    for i in range(len(predictions_list)):
        print("%s = %f" % (predictions_list[i][0], predictions_list[i][1]))
"""
    + FPS
)
FOMO_2022 = (
    START.format(modules="tf, math, uos, gc")
    + "min_confidence = 0.4\n"
    + LOAD.format(load=f'tf.load("trained.tflite", {FIT})')
    + LOOP
    + """    for i, detection_list in enumerate(net.detect(img, thresholds=[(102, 255)])):
        if (i == 0): continue
        if (len(detection_list) == 0): continue
"""
    + CENTRES
    + """        for d in detection_list:
            [x, y, w, h] = d.rect()
            print('x %d\\ty %d' % (math.floor(x + (w / 2)), math.floor(y + (h / 2))))
"""
    + FPS_GAP
)
FOMO_2024 = (
    START.format(modules="ml, math, uos, gc")
    + "min_confidence = 0.4\n"
    + LOAD.format(load=f'ml.Model("trained.tflite", {FIT})')
    + LOOP
    + """    for i, detection_list in enumerate(net.predict([img], callback=fomo_post_process)):
        if i == 0: continue
        if len(detection_list) == 0: continue
"""
    + CENTRES
    + """        for x, y, w, h, score in detection_list:
            print(f"x {math.floor(x + w / 2)}\\ty {math.floor(y + h / 2)}\\tscore {score}")
"""
    + FPS_GAP
)
BUILT_IN_TF = (
    START.format(modules="tf")
    + "\nlabels, net = tf.load_builtin_model('trained')\n"
    + LOOP
    + WINDOWS.format(call="net.classify")
    + SCORES
    + FPS
)
BUILT_IN_ML = Y2024.replace(f'ml.Model("trained.tflite", {FIT})', 'ml.Model("trained")')
