#!/bin/sh
# A master, a talker and a listener, as `roscore` and two `rosrun` start them. Ends when the listener does.
export ROS_MASTER_URI=http://127.0.0.1:11311 ROS_IP=127.0.0.1 ROS_LOG_DIR=/tmp/log HOME=/root PYTHONUNBUFFERED=1
roscore >/tmp/roscore.log 2>&1 &
until rostopic list >/dev/null 2>&1; do sleep 1; done
python3 /ros/talker.py "$1" &
exec python3 /ros/listener.py
