{{ derived_index('device__devices', 'device__device_type', ['LAPTOP', 'PHONE'], include_unlabelled=true) }}
