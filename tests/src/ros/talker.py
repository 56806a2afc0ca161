"""Says so many numbers, ten a second, once somebody listens. It asks for a real-time policy first, as a node does that
drives a motor."""
import os
import sys

import rospy
from std_msgs.msg import String

rospy.init_node("talker")
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    print("talker: real-time", flush=True)
except PermissionError as why:
    print(f"talker: no real-time: {why}", flush=True)

topic = rospy.Publisher("chatter", String, queue_size=100)
rate = rospy.Rate(10)
while topic.get_num_connections() == 0 and not rospy.is_shutdown():
    rate.sleep()
for number in range(1, int(sys.argv[1]) + 1):
    topic.publish(String(data=str(number)))
    rate.sleep()
topic.publish(String(data="end"))
rospy.spin()
