"""Counts what the talker says, prints the count at its end, and ends."""
import rospy
from std_msgs.msg import String

heard = []


def hear(message):
    if message.data == "end":
        print(f"listener: heard {len(heard)}", flush=True)
        rospy.signal_shutdown("the talker has ended")
    heard.append(message.data)


rospy.init_node("listener")
rospy.Subscriber("chatter", String, hear)
rospy.spin()
